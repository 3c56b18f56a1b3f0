"""The gate of SwiGLU in fewer passes over memory, for where no compiler finds them.

With s = sigmoid(a), silu(a) = a s and y = silu(a) b:

    ds/da = s (1 - s)
    da    = g b (s + a s (1 - s)) = g b (silu(a) + s (1 - silu(a)))
    db    = g silu(a)

with g the gradient of y. Only a and b are kept, which the matrix products before made; autograd on the
definition keeps s and silu(a) as well. To keep s, too, saves 1 % of an eager step and takes its memory.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ._first_order import first_order


def fused_gated_silu(gate: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute `gated_silu`; its gradient cannot be differentiated again.

    Args:
        gate: What goes through SiLU.
        x: What is multiplied by it.

    Example:
        >>> fused_gated_silu(torch.tensor([-20.0, 0.0, 20.0]), torch.full((3,), 2.0)).round(decimals=3)
        tensor([-0.,  0., 40.])
    """
    y: Tensor = _GatedSiLU.apply(gate, x)
    return y


class _GatedSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(gate, x)
        return torch.sigmoid(gate).mul_(gate).mul_(x)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, x = ctx.saved_tensors
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        grad_x = grad * silu
        slope = silu.lerp_(silu.new_ones(()), sigmoid)  # silu + s (1 - silu), in place of silu
        return slope.mul_(x).mul_(grad), grad_x
