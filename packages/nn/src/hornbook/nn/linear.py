"""The linear map, without a bias."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter

from ._checks import check_positive_int
from .init import truncated_normal


class Linear(Module):
    """Map x to W x, with W stored as (out, in).

    Initial values: N(0, 2 / (in + out)), cut at three standard deviations, from torch's global generator
    (Glorot and Bengio, 2010).

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        device: Where the weight is made.
        dtype: Of the weight.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive.

    Example:
        >>> Linear(3, 5)(torch.zeros(2, 7, 3)).shape
        torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_int("in_features", in_features)
        check_positive_int("out_features", out_features)
        super().__init__()
        std = math.sqrt(2 / (in_features + out_features))
        self.weight = Parameter(
            truncated_normal(out_features, in_features, std=std, device=device, dtype=dtype)
        )

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Map the last axis."""
        return x @ self.weight.T

    def extra_repr(self) -> str:
        """Show the sizes in `repr`."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"
