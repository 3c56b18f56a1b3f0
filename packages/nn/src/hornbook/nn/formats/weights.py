"""A model's weights by name: to be written, and from what was read."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..transformer import TransformerLM
from .tensors import DTYPES, Shape, check_finite

_MAX_SIZE = 2**24
_MAX_CONTEXT = (
    2**20
)  # no weight has this size, so no other check finds a false one, and rotary tables have it


def weight_shapes(config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    """Yield name and shape of every weight, tied ones once, layer by layer.

    Nothing is allocated, whatever number of layers or positions a file claims: on the meta device a model of
    two layers tells all of it, as all but the first are alike.
    """
    small = replace(config, num_layers=min(2, config.num_layers), position="none")
    model = TransformerLM(small, device="meta")
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    yield from ((name, shape) for name, shape in shapes.items() if not name.startswith("layers."))
    for layer in range(config.num_layers):
        like = f"layers.{min(layer, 1)}."
        for name, shape in shapes.items():
            if name.startswith(like):
                yield f"layers.{layer}.{name.removeprefix(like)}", shape


def weights_of(model: TransformerLM, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return a model's weights on the CPU, tied ones once.

    Args:
        model: The model.
        dtype: Of what is returned; None: that of the weights.

    Raises:
        TypeError: If it is no TransformerLM; that of a compiled model is `model._orig_mod`.
        ValueError: If the weights are not those of the model's config, not all of one dtype, not finite, too
            large for `dtype`, or on the meta device.
    """
    check_dtype(dtype)
    if not isinstance(model, TransformerLM):
        msg = (
            f"model must be a TransformerLM, got {type(model).__name__}: of a compiled model give _orig_mod,"
            " of one in DistributedDataParallel its module"
        )
        raise TypeError(msg)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    if {name: tuple(weight.shape) for name, weight in weights.items()} != dict(weight_shapes(model.config)):
        msg = "the model has other weights than its config describes: it was changed after it was made"
        raise ValueError(msg)
    own_dtype = next(iter(weights.values())).dtype
    for name, weight in weights.items():
        if weight.is_meta:
            msg = f"{name} is on the meta device and has no values: use to_empty and load_state_dict first"
            raise ValueError(msg)
        if weight.dtype != own_dtype or own_dtype not in DTYPES.values():
            msg = f"weights must have one floating point dtype, {name} is {weight.dtype}: use model.to(dtype)"
            raise ValueError(msg)
        weights[name] = check_finite(name, weight, dtype or own_dtype).cpu().contiguous()
    return weights


def model_from(
    config: TransformerConfig,
    read: Callable[[str, torch.dtype], Tensor],
    *,
    device: torch.device | str | None,
    dtype: torch.dtype,
) -> TransformerLM:
    """Make a model of weights that are read one after the other; no random number is drawn.

    Args:
        config: The shape.
        read: Gives the weight of a name in a dtype.
        device: Where the model is made.
        dtype: Of its weights.
    """
    model = TransformerLM(config, device="meta", dtype=dtype)
    # Not load_state_dict(assign=True), which would leave the rotary tables on the meta device.
    model.to_empty(device=device or torch.get_default_device())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(read(name, dtype))
    return model


def check_sizes(config: TransformerConfig) -> None:
    """Refuse sizes of a file that nobody's model has, whose products overflow before they can be compared.

    Raises:
        ValueError: Naming the first.
    """
    for name in ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "head_width", "d_ff"):
        most = _MAX_CONTEXT if name == "context_length" else _MAX_SIZE
        if (size := getattr(config, name)) > most:
            msg = f"{name} must be at most {most}, got {size}"
            raise ValueError(msg)


def check_dtype(dtype: object) -> None:
    """Refuse what weights cannot be.

    Raises:
        ValueError: If it is anything but a floating point dtype of torch.
    """
    if dtype is not None and dtype not in DTYPES.values():
        msg = f"dtype must be one of {', '.join(map(str, DTYPES.values()))}, got {dtype}"
        raise ValueError(msg)
