"""Head and loss together: the gradient takes the place of the logits, chunk by chunk, in the forward pass.

For one token with hidden state h, logits l = W h, Z = sum_j exp(l_j), p = softmax(l) and target t:

    loss     = log Z - l_t + z (log Z)^2
    dloss/dl = p (1 + 2 z log Z) - onehot(t)          as d(log Z)/dl = p
    dloss/dh = W^T dloss/dl,   dloss/dW = dloss/dl h^T

Nothing here waits for what comes after the loss: the gradient of a sum gives every token the same factor, the
gradient that arrives, so the backward pass only multiplies by it. With a softcap l = c tanh(a / c), a = W h,
and dloss/da = dloss/dl (1 - (l / c)^2).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._autocast import autocast_dtype
from ._first_order import first_order
from ._targets import at_targets, chunks, counted
from .functional import at_least_float32, softcap

_SLICE = 2**18  # logits; a megabyte in float32


def sum_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    wanted: Sequence[bool],
    ignore_index: int | None,
    z_loss: float,
    cap: float | None,
    chunk_size: int,
) -> tuple[Tensor, list[Tensor]]:
    """Sum the losses of all tokens, chunk by chunk, and differentiate it by `hidden` and `weight` on the way.

    Args:
        hidden: (tokens, d_model).
        weight: Of the head.
        targets: Id of each token's target.
        wanted: Whether there shall be a gradient by `hidden`, and by `weight`.
        ignore_index: Targets to be left out.
        z_loss: Weight of the squared logarithm of the partition function.
        cap: Of the softcap; None: no.
        chunk_size: Tokens at a time.

    Returns:
        The sum, and the gradients that are wanted.
    """
    wants_hidden, wants_weight = wanted
    rounded = autocast_dtype(hidden)
    dtype = hidden.dtype if rounded is None else rounded
    head = weight if rounded is None else weight.to(rounded)  # once, not once a chunk
    wide = torch.promote_types(dtype, torch.float32)
    total = torch.zeros((), dtype=wide, device=hidden.device)
    grads_hidden = []
    accurate = torch.promote_types(weight.dtype, torch.float32)
    grad_weight: Tensor | None = None
    # One place for the logits of all chunks: new memory takes longer to touch than the product takes. (The
    # compiler sees to it by itself.)
    num_rows = min(chunk_size, len(targets))
    room = None if torch.compiler.is_compiling() else hidden.new_empty(num_rows, len(head), dtype=dtype)
    # Where slopes take the place of logits, a CPU goes slice by slice: its cache then holds the numbers from
    # one operation to the next (of 512 x 10,000: 5.2 ms in place of 8.8).
    slices = room is not None and hidden.device.type == "cpu" and dtype == wide and cap is None
    rows_at_once = max(1, _SLICE // len(head)) if slices else chunk_size
    for x, ids in chunks(hidden.to(dtype), targets, chunk_size):
        logits = x @ head.T if room is None else torch.mm(x, head.T, out=room[: len(x)])
        losses = []
        for some, some_ids in chunks(logits, ids, rows_at_once):
            some_losses, slopes = _losses_and_slopes(some, some_ids, ignore_index, z_loss, cap)
            losses.append(some_losses)
        total = total + torch.cat(losses).sum()
        slopes = logits if slices else slopes.to(dtype)
        if wants_hidden:
            grads_hidden.append(slopes @ head)
        if not wants_weight:
            continue
        if grad_weight is None:
            grad_weight = (slopes.T @ x).to(accurate)
        elif grad_weight.dtype == dtype:
            torch.addmm(grad_weight, slopes.T, x, out=grad_weight)
        else:
            grad_weight += slopes.T @ x
    gradients = [torch.cat(grads_hidden).to(hidden.dtype)] if wants_hidden else []
    return total, gradients if grad_weight is None else [*gradients, grad_weight.to(weight.dtype)]


def _losses_and_slopes(
    logits: Tensor, targets: Tensor, ignore_index: int | None, z_loss: float, cap: float | None
) -> tuple[Tensor, Tensor]:
    """Compute the loss of each row and its gradient by the row, which is overwritten."""
    logits = at_least_float32(logits if cap is None else softcap(logits, cap))
    slope = None if cap is None else 1 - (logits / cap).square()
    counts, index = counted(targets, ignore_index)
    shift = logits.amax(-1, keepdim=True)
    target_logits = at_targets(logits, index) - shift
    exps = logits.sub_(shift).exp_()  # the same memory: from here on there are no logits
    sums = exps.sum(-1, keepdim=True)
    log_sums = sums.log()
    losses = log_sums - target_logits
    factors = 1 / sums
    if z_loss != 0:
        log_partition = log_sums + shift
        losses = losses + z_loss * log_partition.square()
        factors = factors * (1 + 2 * z_loss * log_partition)
    slopes = _less_one_at(exps.mul_(factors.where(counts, 0)), index, counts)
    if slope is not None:
        slopes.mul_(slope)
    return losses.where(counts, 0), slopes


def _less_one_at(slopes: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Subtract 1 at each target that counts."""
    if torch.compiler.is_compiling():
        # No scatter: the compiler makes one pass of this and what comes before and after.
        is_target = torch.arange(slopes.shape[-1], device=slopes.device) == index
        return slopes - (is_target & counts).to(slopes.dtype)
    return slopes.scatter_add_(-1, index, -counts.to(slopes.dtype))


def with_gradients(total: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Make these the gradients of `total` by these inputs.

    Args:
        total: A number.
        inputs: What it was computed from.
        gradients: Of `total`, by each of them.
    """
    if not torch.compiler.is_compiling():
        known: Tensor = _KnownGradients.apply(total, *inputs, *gradients)
        return known
    # The same without a Function, which would keep the compiled model out of torch's cache: seconds at every
    # start. Each term is zero.
    for x, gradient in zip(inputs, gradients, strict=True):
        total = total + ((x - x.detach()) * gradient).sum()
    return total


class _KnownGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, total: Tensor, *inputs_and_gradients: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs_and_gradients[len(inputs_and_gradients) // 2 :])
        return total.clone()

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return None, *(gradient * grad for gradient in gradients), *[None] * len(gradients)
