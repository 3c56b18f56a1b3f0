"""Models and optimizers as named tensors and JSON, and back: what a checkpoint is made of. No pickle."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

Tensors = dict[str, Tensor]
Json = dict[str, Any]


def model_tensors(model: Module) -> tuple[Tensors, dict[str, str]]:
    """Return the model's tensors, tied ones once, and which names stand for another: {alias: name kept}."""
    kept: Tensors = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    for name, tensor in _plain_state(model).items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and key in seen:
            aliases[name] = seen[key]
        else:
            seen[key] = name
            kept[name] = _on_cpu(tensor)
    return kept, aliases


def load_model_tensors(model: Module, tensors: Mapping[str, Tensor], aliases: Mapping[str, str]) -> None:
    """Copy saved tensors into the model; every name and shape must fit.

    Raises:
        ValueError: Naming the first tensor that is missing, left over or of another shape.
    """
    saved = dict(tensors) | {alias: tensors[name] for alias, name in aliases.items() if name in tensors}
    own = _plain_state(model)
    for name in sorted(own.keys() | saved.keys()):
        ours, theirs = own.get(name), saved.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            described = ["no such tensor" if t is None else f"shape {tuple(t.shape)}" for t in (ours, theirs)]
            msg = f"{name}: the model has {described[0]}, the checkpoint has {described[1]}"
            raise ValueError(msg)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def optimizer_tensors(optimizer: Optimizer) -> tuple[Tensors, Json]:
    """Split an optimizer's state into tensors named `<parameter index>.<field>` and JSON for the rest."""
    state = optimizer.state_dict()
    tensors: Tensors = {}
    numbers: dict[str, Json] = {}
    for index, fields in state["state"].items():
        numbers[str(index)] = {}
        for field, value in fields.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{field}"] = _on_cpu(value)
            else:
                numbers[str(index)][field] = value
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: Json) -> None:
    """Give an optimizer the state that `optimizer_tensors` took from one over the same parameters.

    Raises:
        ValueError: If the groups hold other numbers of parameters than the optimizer's.
    """
    state: dict[int, dict[str, Any]] = {int(index): dict(fields) for index, fields in rest["state"].items()}
    for name, tensor in tensors.items():
        index, field = name.split(".", 1)
        state.setdefault(int(index), {})[field] = tensor
    sizes, saved_sizes = (
        [len(group["params"]) for group in groups]
        for groups in (optimizer.state_dict()["param_groups"], rest["param_groups"])
    )
    if sizes != saved_sizes:
        msg = f"the optimizer has groups of {sizes} parameters, the checkpoint has {saved_sizes}"
        raise ValueError(msg)
    # JSON knows no tuples: a value that is a tuple in the optimizer at hand becomes one again.
    own_groups = optimizer.state_dict()["param_groups"]
    groups = [
        {
            key: tuple(value) if isinstance(own.get(key), tuple) and isinstance(value, list) else value
            for key, value in group.items()
        }
        for own, group in zip(own_groups, rest["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_tensors() -> Tensors:
    """Return the states of torch's random generators, of the CPU and of every CUDA device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state()} | {f"cuda.{index}": state for index, state in enumerate(cuda)}


def load_random_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Set torch's random generators; states of devices that this machine lacks are left out."""
    torch.set_rng_state(tensors["cpu"])
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda.{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)


def _plain_state(model: Module) -> Tensors:
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            msg = f"{name} in the model's state is a {type(value).__name__}: only tensors can be saved"
            raise TypeError(msg)
    return state


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
