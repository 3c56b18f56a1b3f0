"""RMSNorm in fewer passes over memory, for where no compiler finds them.

With r = (mean(x^2) + eps)^(-1/2) for a vector x of d features, gain w and y = r x w:

    dr/dx = -r^3 x / d
    dx    = r (g w) + (sum_j g_j w_j x_j) dr/dx = r (g w - x (r^2 / d) sum_j g_j x_j w_j)
    dw    = sum over vectors of r g x

with g the gradient of y. Both sums take g x, which is made once. Kept are x and one r a vector; autograd on
the definition keeps r x as well. Forward and backward of 2048 x 512 float32 take 3.0 ms for 8.7 on one core.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ._first_order import first_order
from .functional import at_least_float32


def fused_rms_norm(
    x: Float[Tensor, "*batch d_model"], weight: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "*batch d_model"]:
    """Compute `rms_norm`; its gradient cannot be differentiated again.

    Args:
        x: Any leading axes.
        weight: Gain.
        eps: Added to the mean square.

    Example:
        >>> fused_rms_norm(torch.tensor([3.0, -3.0]), torch.ones(2), eps=1e-5).round(decimals=3)
        tensor([ 1., -1.])
    """
    wide, gain = at_least_float32(x), at_least_float32(weight)
    # A Function costs 30 us a call: too much for the single tokens of generation.
    y: Tensor = _RMSNorm.apply(wide, gain, eps) if torch.is_grad_enabled() else _norm(wide, gain, eps)[0]
    return y.to(x.dtype)


def _norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse_rms = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (x * inverse_rms).mul_(weight), inverse_rms


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, inverse_rms = _norm(x, weight, eps)
        ctx.save_for_backward(x, weight, inverse_rms)
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse_rms = ctx.saved_tensors
        grad_x = grad * x
        dot = (grad_x @ weight).unsqueeze(-1)
        grad_weight = grad_x.reshape(-1, x.shape[-1]).mT @ inverse_rms.flatten()
        torch.mul(grad, weight, out=grad_x)  # g x has served
        grad_x.addcmul_(x, dot * inverse_rms.square(), value=-1 / x.shape[-1]).mul_(inverse_rms)
        return grad_x, grad_weight, None
