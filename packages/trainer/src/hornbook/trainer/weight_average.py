"""A running average of the weights, which is often better than the weights themselves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module

_PREFIX = "average."


class WeightAverage:
    """Exponential moving average of a model's parameters (Polyak & Juditsky, 1992).

    After the t-th update, t from 1:

        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weight

    so that the first weights are soon forgotten. Kept in float32 at least; tied parameters count once,
    buffers are not averaged.

    Args:
        model: Whose parameters are followed.
        decay: From 0 up to but not including 1; about 1 / (1 - decay) updates are averaged.

    Raises:
        ValueError: If `decay` is out of range.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(model, decay=0.5)
        >>> _ = model.weight.data.add_(1.0)
        >>> average.update(step=1)  # d = 2 / 11
        >>> with average.in_place():
        ...     inside = model.weight.item()
        >>> round(model.weight.item() - inside, 4)  # 2 / 11
        0.1818
    """

    def __init__(self, model: Module, decay: float) -> None:
        if not 0 <= decay < 1:
            msg = f"the decay of the average of weights must be at least 0 and less than 1, got {decay}"
            raise ValueError(msg)
        self.decay = decay
        self._weights = {name: param.detach() for name, param in model.named_parameters()}
        wide = {n: torch.promote_types(w.dtype, torch.float32) for n, w in self._weights.items()}
        self._averages = {name: weight.to(wide[name], copy=True) for name, weight in self._weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after update `step`."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        averages = list(self._averages.values())
        torch._foreach_lerp_(
            averages, [w.to(a.dtype) for w, a in zip(self._weights.values(), averages, strict=True)], share
        )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the average for the block, then its own weights again, bit for bit."""
        own = {name: weight.clone() for name, weight in self._weights.items()}
        try:
            _copy(self._averages, self._weights)
            yield
        finally:
            _copy(own, self._weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: the averages by the names of their parameters."""
        return {_PREFIX + name: average for name, average in self._averages.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` returned.

        Raises:
            ValueError: If there is no average of this model among them.
        """
        missing = [name for name in self._averages if _PREFIX + name not in tensors]
        if missing:
            msg = (
                f"the checkpoint has no average of the weights ({missing[0]} is missing): was it off before?"
            )
            raise ValueError(msg)
        _copy({name: tensors[_PREFIX + name] for name in self._averages}, self._averages)


def averages_in(extra_tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the averages among a checkpoint's extra tensors, by the names of their parameters."""
    return {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in extra_tensors.items()
        if name.startswith(_PREFIX)
    }


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])
