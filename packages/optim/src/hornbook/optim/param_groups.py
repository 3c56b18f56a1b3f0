"""Which parameters decay."""

from typing import Any

from torch import nn

from ._checks import require_number


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split a model's parameters into those that decay and those that do not.

    Tensors of two or more dimensions (projections, embeddings) decay; gains and other vectors do not: a
    norm's gain is at rest at 1, not at 0 (nanoGPT splits them so too). Frozen parameters are left out, tied
    ones come once, under their first name.

    Args:
        model: The model whose `named_parameters()` are split.
        weight_decay: Decay of the first group; the second has 0.

    Returns:
        Groups for an optimizer, `{"params": [(name, parameter), ...], "weight_decay": ...}`; an empty one
        is left out. The names show what is in a group, and torch keeps them in the optimizer's
        `param_names`.

    Raises:
        ValueError: If the model has nothing to train or `weight_decay` is out of range.
        TypeError: If `weight_decay` is not a number.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.LayerNorm(2))
        >>> for group in decay_groups(model, weight_decay=0.1):
        ...     print(group["weight_decay"], [name for name, _ in group["params"]])
        0.1 ['0.weight']
        0.0 ['1.weight', '1.bias']
    """
    require_number("weight_decay", weight_decay, least=0)
    trainable = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    if not trainable:
        msg = f"{type(model).__name__} has no parameter that requires a gradient"
        raise ValueError(msg)
    groups: list[dict[str, Any]] = [
        {
            "params": [(name, param) for name, param in trainable if param.ndim >= 2],
            "weight_decay": weight_decay,
        },
        {"params": [(name, param) for name, param in trainable if param.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
