"""Several linear maps of one input in fewer operations, for where no compiler finds them.

With y_i = x W_i^T, and g_i the gradient of y_i:

    dx = sum_i g_i W_i,    dW_i = g_i^T x

In float32 each product of dx adds to the one before, so that the sum takes no pass over memory. Under
autocast the weights have to be rounded to half precision; they are so side by side, into one matrix

    W = (W_1; W_2; ...),    (y_1, y_2, ...) = x W^T,    dx = (g_1, g_2, ...) W,    dW = (g_1, g_2, ...)^T x

and x is rounded once, not once a map: three maps and their gradients are 8 operations in place of 23. The sum
in dx is rounded once, too.

Of x and of weights that need no gradient there is no product, and nothing is kept for it.
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
        wants_x, *wants = ctx.needs_input_grad
        dtype = autocast_dtype(x)
        ctx.rounded_from = None if dtype is None else (x.dtype, weights[0].dtype)
        if dtype is None:
            outputs, matrices = linears(x, weights), list(weights)
        else:
            sizes = [len(weight) for weight in weights]
            joint = weights[0].new_empty(sum(sizes), x.shape[-1], dtype=dtype)
            torch._foreach_copy_(torch.split(joint, sizes), weights)
            x = x.to(dtype)
            outputs, matrices = torch.split(x @ joint.T, sizes, -1), [joint]
        ctx.save_for_backward(x if any(wants) else None, *(matrices if wants_x else []))
        return outputs

    @staticmethod
    @first_order
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *matrices = ctx.saved_tensors
        wants_x, *wants = ctx.needs_input_grad
        wanted = [grad for grad, want in zip(grads, wants, strict=True) if want]
        sizes = [grad.shape[-1] for grad in wanted]
        if ctx.rounded_from is not None:  # side by side
            together = [torch.cat(grads, -1)] if wants_x or all(wants) else []
            wanted = together if all(wants) else [torch.cat(wanted, -1)] if wanted else []
            grads = tuple(together)
        grad_x = _sum_of_products(grads, matrices) if wants_x else None
        found = [_rows(grad).T @ _rows(x) for grad in wanted]
        if ctx.rounded_from is not None:
            wide, accurate = ctx.rounded_from
            grad_x = None if grad_x is None else grad_x.to(wide)
            found = [part for both in found for part in torch.split(both.to(accurate), sizes)]
        grad_weights = iter(found)
        return grad_x, *(next(grad_weights) if want else None for want in wants)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _sum_of_products(slopes: Sequence[Tensor], matrices: Sequence[Tensor]) -> Tensor:
    total = _rows(slopes[0]) @ matrices[0]
    for slope, matrix in zip(slopes[1:], matrices[1:], strict=True):
        torch.addmm(total, _rows(slope), matrix, out=total)
    return total.view(*slopes[0].shape[:-1], matrices[0].shape[1])
