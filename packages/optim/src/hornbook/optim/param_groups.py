"""Which parameters decay, which go to Muon, and a table of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

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
        is left out. The names show what is in a group (see `describe_groups`), and torch keeps them in the
        optimizer's `param_names`.

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
    return _split_by_decay(_trainable(model), weight_decay)


def muon_groups(
    model: nn.Module, weight_decay: float, *, not_hidden: Sequence[str], adamw_lr_scale: float = 1.0
) -> list[dict[str, Any]]:
    """Split a model's parameters for `Muon`: hidden matrices, and for AdamW all that `decay_groups` splits.

    Hidden matrices map activations to activations. Embeddings and the head are matrices too, but their rows
    are tokens, and they fare better with AdamW (Jordan et al., "Muon", 2024). Which they are can't be seen
    from a tensor, so they are named.

    Args:
        model: The model whose `named_parameters()` are split; what has not two dimensions goes to AdamW.
        weight_decay: Of all matrices; vectors have 0.
        not_hidden: Names of parameters or modules in the model that go to AdamW, whole dotted parts:
            "lm_head" is for "lm_head.weight".
        adamw_lr_scale: `lr_scale` of AdamW's groups.

    Returns:
        Groups for `Muon`, of hidden matrices, other matrices, and vectors; an empty one is left out.

    Raises:
        ValueError: If the model has nothing to train, a name fits nothing, no matrix is left for Muon, or a
            number is out of range.
        TypeError: If a number is none, or `not_hidden` a single string.

    Example:
        >>> model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 2), nn.Linear(2, 5))
        >>> for group in muon_groups(model, weight_decay=0.1, not_hidden=("0", "2")):
        ...     print(group["algorithm"], group["weight_decay"], [name for name, _ in group["params"]])
        muon 0.1 ['1.weight']
        adamw 0.1 ['0.weight', '2.weight']
        adamw 0.0 ['1.bias', '2.bias']
    """
    require_number("adamw_lr_scale", adamw_lr_scale, least=0)
    if isinstance(not_hidden, str):
        msg = f"not_hidden must be a sequence of names, got the string {not_hidden!r}"
        raise TypeError(msg)
    trainable = _trainable(model)
    for part in not_hidden:
        if not any(_lies_in(name, part) for name, _ in trainable):
            msg = f"not_hidden names {part!r}, of which {type(model).__name__} has no trainable parameter"
            raise ValueError(msg)
    hidden = [
        (name, param)
        for name, param in trainable
        if param.ndim == 2 and not any(_lies_in(name, part) for part in not_hidden)
    ]
    if not hidden:
        msg = f"{type(model).__name__} has no hidden matrix for Muon; AdamW with decay_groups is what is left"
        raise ValueError(msg)
    names = {name for name, _ in hidden}
    others = _split_by_decay([pair for pair in trainable if pair[0] not in names], weight_decay)
    return [
        {"params": hidden, "weight_decay": weight_decay, "algorithm": "muon"},
        *({**group, "algorithm": "adamw", "lr_scale": adamw_lr_scale} for group in others),
    ]


def describe_groups(groups: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of groups, as text: how each decays, its rate, and what is in it.

    Args:
        groups: An optimizer's `param_groups`, or groups that it is to be made of.

    Returns:
        Lines without a final newline. `lr` is times `lr_scale` if the group has one; "-" is what a group
        does not say. Names that differ in numbers alone are one, with `*` and how many they are.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        >>> print(describe_groups(decay_groups(model, weight_decay=0.1)))
        group  algorithm  decay  lr  tensors  parameters  names
            0          -    0.1   -        2           8  *.weight x2
            1          -    0.0   -        2           3  *.bias x2
    """
    rows = [("group", "algorithm", "decay", "lr", "tensors", "parameters", "names")]
    for index, group in enumerate(groups):
        names, params = _names_and_params(group)
        lr = group["lr"] * group.get("lr_scale", 1.0) if "lr" in group else None
        rows.append(
            (
                str(index),
                str(group.get("algorithm", "-")),
                str(group.get("weight_decay", "-")),
                "-" if lr is None else f"{lr:g}",
                f"{len(params):,}",
                f"{sum(param.numel() for param in params):,}",
                _abridged(names),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]])
        for row in rows
    )


def _trainable(model: nn.Module) -> list[tuple[str, Tensor]]:
    trainable = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    if not trainable:
        msg = f"{type(model).__name__} has no parameter that requires a gradient"
        raise ValueError(msg)
    return list(trainable)


def _split_by_decay(named: list[tuple[str, Tensor]], weight_decay: float) -> list[dict[str, Any]]:
    require_number("weight_decay", weight_decay, least=0)
    groups: list[dict[str, Any]] = [
        {"params": [(name, param) for name, param in named if param.ndim >= 2], "weight_decay": weight_decay},
        {"params": [(name, param) for name, param in named if param.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _lies_in(name: str, part: str) -> bool:
    """Whether the dotted name has the part, itself dotted or not, among its own."""
    return f".{part}." in f".{name}."


def _names_and_params(group: Mapping[str, Any]) -> tuple[list[str], list[Tensor]]:
    given = group["params"]
    members = [given] if isinstance(given, Tensor) else list(given)
    if members and not isinstance(members[0], Tensor):
        return [name for name, _ in members], [param for _, param in members]
    return list(group.get("param_names", [])), members


def _abridged(names: list[str]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        pattern = re.sub(r"(?<![^.])\d+(?![^.])", "*", name)
        counts[pattern] = counts.get(pattern, 0) + 1
    return ", ".join(name if count == 1 else f"{name} x{count}" for name, count in counts.items()) or "-"
