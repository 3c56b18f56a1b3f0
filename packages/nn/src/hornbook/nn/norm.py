"""Root mean square normalization."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter

from ._checks import check_positive_finite, check_positive_int
from .functional import at_least_float32
from .fused_norm import fused_rms_norm


def rms_norm(
    x: Float[Tensor, "*batch d_model"], weight: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "*batch d_model"]:
    """Compute x / sqrt(mean(x^2) + eps) * weight over the last axis, in float32 at least.

    Args:
        x: Any leading axes.
        weight: Gain.
        eps: Added to the mean square.

    Example:
        >>> rms_norm(torch.tensor([3.0, -3.0]), torch.ones(2), eps=1e-5).round(decimals=3)
        tensor([ 1., -1.])
    """
    wide = at_least_float32(x)
    inverse_rms = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()
    return (wide * inverse_rms * weight).to(x.dtype)


class RMSNorm(Module):
    """Scale each vector to root mean square one, then each feature by a learned gain, at first 1.

    x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich, 2019), computed in float32 at least and returned in
    the dtype of x.

    Args:
        d_model: Size of the last axis.
        eps: Added to the mean square.
        device: Where the gain is made.
        dtype: Of the gain.

    Raises:
        TypeError: If `d_model` is not an int or `eps` not a number.
        ValueError: If one of them is not positive.

    Example:
        >>> RMSNorm(2)(torch.tensor([3.0, -3.0])).detach().round(decimals=3)
        tensor([ 1., -1.])
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_int("d_model", d_model)
        check_positive_finite("eps", eps)
        super().__init__()
        self.eps = eps
        self.weight = Parameter(torch.ones(d_model, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalize the last axis."""
        # The compiler makes the fewest passes of the definition; without it they are written out.
        compute = rms_norm if torch.compiler.is_compiling() else fused_rms_norm
        return compute(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Show the size and eps in `repr`."""
        return f"d_model={self.weight.shape[0]}, eps={self.eps}"


class Identity(Module):
    """Stand where a norm would, without one: no parameters, x unchanged."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x."""
        return x
