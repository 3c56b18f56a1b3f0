"""The part of a block that works on each position alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from .functional import gated_silu
from .fused_swiglu import fused_gated_silu
from .linear import Linear, project


class SwiGLU(Module):
    """W2 (SiLU(W1 x) * W3 x) (Shazeer, 2020).

    With d_ff about 8/3 d_model it has as many parameters as two matrices with 4 d_model.

    Args:
        d_model: Width of input and output.
        d_ff: Inner width.
        device: Where the weights are made.
        dtype: Of the weights.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive.

    Example:
        >>> SwiGLU(24, 64)(torch.zeros(2, 24)).shape
        torch.Size([2, 24])
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)
        self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Map the last axis."""
        gate = gated_silu if torch.compiler.is_compiling() else fused_gated_silu
        output: Float[Tensor, "*batch d_model"] = self.w2(gate(*project(x, (self.w1, self.w3))))
        return output


class MLP(Module):
    """W2 activation(W1 x): two matrices without a gate; d_ff is usually 4 d_model.

    Args:
        d_model: Width of input and output.
        d_ff: Inner width.
        activation: Applied to each feature, such as `silu` or `squared_relu`.
        device: Where the weights are made.
        dtype: Of the weights.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive.

    Example:
        >>> from hornbook.nn import silu
        >>> MLP(24, 96, activation=silu)(torch.zeros(2, 24)).shape
        torch.Size([2, 24])
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: Callable[[Tensor], Tensor],
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Map the last axis."""
        output: Float[Tensor, "*batch d_model"] = self.w2(self.activation(self.w1(x)))
        return output
