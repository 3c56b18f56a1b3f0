"""Targets of a loss: some tokens at a time, which of them count, and the logit of each."""

from collections.abc import Iterator

import torch
from torch import Tensor


def chunks(hidden: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through tokens, `size` at a time."""
    for begin in range(0, max(len(targets), 1), size):  # one empty chunk where there is nothing
        yield hidden[begin : begin + size], targets[begin : begin + size]


def counted(targets: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Return which targets count and an id for each of them, with an axis for the vocabulary."""
    ids = targets.unsqueeze(-1)
    if ignore_index is None:
        return torch.ones_like(ids, dtype=torch.bool), ids
    counts = ids != ignore_index
    return counts, ids.where(counts, 0)


def at_targets(logits: Tensor, index: Tensor) -> Tensor:
    """Take each target's logit; on the CPU an id that is none is told by name."""
    try:
        return logits.gather(-1, index)
    except RuntimeError:
        low, high = index.aminmax()
        if low >= 0 and high < logits.shape[-1]:  # it was something else
            raise
        msg = (
            f"targets must be from 0 to {logits.shape[-1] - 1}, got ids from {low} to {high}: give an id that"
            " stands for no target as ignore_index"
        )
        raise ValueError(msg) from None
