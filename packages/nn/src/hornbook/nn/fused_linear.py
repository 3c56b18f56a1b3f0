"""Several linear maps of one input in fewer operations, for where no compiler finds them.

With y_i = x W_i^T, and g_i the gradient of y_i:

    dx = sum_i g_i W_i,    dW_i = g_i^T x

In float32 each product of dx adds to the one before, so that the sum takes no pass over memory. Under
autocast the weights have to be rounded to half precision; they are so side by side, into one matrix

    W = (W_1; W_2; ...),    (y_1, y_2, ...) = x W^T,    dx = (g_1, g_2, ...) W,    dW = (g_1, g_2, ...)^T x

and x is rounded once, not once a map: three maps and their gradients are 8 operations in place of 23. The sum
in dx is rounded once, too.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ._autocast import autocast_dtype
from ._first_order import first_order
from .functional import linears


def fused_linears(
    x: Float[Tensor, "*batch d_in"], weights: Sequence[Float[Tensor, "_ d_in"]]
) -> tuple[Float[Tensor, "*batch _"], ...]:
    """Compute `linears`; its gradient cannot be differentiated again.

    Args:
        x: As for `linears`; so are the weights.
        weights: Some.

    Example:
        >>> one, two = fused_linears(torch.ones(2, 3), [torch.ones(1, 3), torch.ones(4, 3)])
        >>> one.shape, two.shape
        (torch.Size([2, 1]), torch.Size([2, 4]))
    """
    if not torch.is_grad_enabled():
        return linears(x, weights)
    outputs: tuple[Tensor, ...] = _Linears.apply(x, *weights)
    return outputs


class _Linears(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        dtype = autocast_dtype(x)
        ctx.sizes = None if dtype is None else [len(weight) for weight in weights]
        if dtype is None:
            ctx.save_for_backward(x, *weights)
            return linears(x, weights)
        ctx.dtypes = x.dtype, weights[0].dtype
        joint = weights[0].new_empty(sum(ctx.sizes), x.shape[-1], dtype=dtype)
        torch._foreach_copy_(torch.split(joint, ctx.sizes), weights)
        x = x.to(dtype)
        ctx.save_for_backward(x, joint)
        return torch.split(x @ joint.T, ctx.sizes, -1)

    @staticmethod
    @first_order
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        if ctx.sizes is not None:
            grads = (torch.cat(grads, -1),)
        rows, *slopes = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (x, *grads))
        grad_x = slopes[0] @ weights[0]
        for slope, weight in zip(slopes[1:], weights[1:], strict=True):
            torch.addmm(grad_x, slope, weight, out=grad_x)
        grad_weights = [slope.T @ rows for slope in slopes]
        grad_x = grad_x.view(x.shape)
        if ctx.sizes is None:
            return grad_x, *grad_weights
        wide, accurate = ctx.dtypes
        return grad_x.to(wide), *grad_weights[0].to(accurate).split(ctx.sizes)
