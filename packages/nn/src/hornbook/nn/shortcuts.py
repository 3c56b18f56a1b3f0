"""Learned shortcuts from the beginning of the model to each of its layers."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter


class LearnedMix(Module):
    """Compute w[0] x + w[1] y with two learned scalars.

    With x the stream and y the embedding it is the embedding shortcut (modded-nanogpt, 2024); with x the
    values of a layer and y those of the first it is the value residual (Zhou et al., "Value Residual
    Learning", 2024).

    Args:
        initial: The scalars at first.
        device: Where they are made.
        dtype: Of the scalars.

    Example:
        >>> LearnedMix((0.5, 0.5))(torch.tensor([2.0]), torch.tensor([4.0])).detach()
        tensor([3.])
    """

    def __init__(
        self,
        initial: tuple[float, float],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = Parameter(torch.tensor(initial, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Mix two tensors of one shape."""
        return self.weight[0] * x + self.weight[1] * y


class FirstValue:
    """The values of the first layer, in one pass through the model; that layer leaves them for the others."""

    value: Tensor | None = None
