"""Cross-entropy of given logits, and of logits that never exist all at once."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._autocast import autocast_dtype
from ._checks import check_choice, check_not_negative, check_positive_finite, check_positive_int
from ._first_order import first_order
from ._ids import check_ids
from .functional import at_least_float32, softcap

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    logits: Float[Tensor, "*batch vocab"],
    targets: Int[Tensor, "*batch"],
    *,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    z_loss: float = 0.0,
) -> Float[Tensor, "..."]:
    """Compute -log softmax(logits)[target], in nats.

    With m = max(logits) it is log(sum_j exp(logits_j - m)) - (logits_target - m): log and exp cancel for the
    target, and nothing overflows. Computed and returned in float32 at least.

    Args:
        logits: One score per entry of the vocabulary.
        targets: Ids of the right entries, from 0 to vocab - 1.
        reduction: "mean" over the targets that are not ignored, "sum" of them, or "none": one loss a target.
        ignore_index: Targets with this id have loss 0, give no gradient and do not count; None: there are
            none. The mean over nothing but these is NaN, as in torch.
        z_loss: Adds z_loss * log(sum_j exp(logits_j))^2, which keeps the logits from drifting (PaLM,
            Chowdhery et al., 2022, with 1e-4).

    Raises:
        TypeError: If the targets are not int64 or int32, `ignore_index` not an int or `z_loss` not a number.
        ValueError: If the shapes do not fit, `reduction` is unknown, it is "mean" and there is no target,
            `z_loss` is negative or not finite or, on the CPU, a target is not in the vocabulary.

    Example:
        >>> cross_entropy(torch.zeros(3, 8), torch.tensor([0, 5, 7]))  # log 8
        tensor(2.0794)
    """
    check_choice("reduction", reduction, Reduction)
    check_not_negative("z_loss", z_loss)
    _check_targets(logits, targets, reduction, ignore_index, "logits")
    losses = _losses(logits, targets, ignore_index, z_loss)
    return _reduced(losses, targets, reduction, ignore_index)


def linear_cross_entropy(
    hidden: Float[Tensor, "*batch d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "*batch"],
    *,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    logit_softcap: float | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, "..."]:
    """Compute `cross_entropy(hidden @ weight.T, targets)` a chunk of tokens at a time.

    The logits are the largest tensor of a small model's training step, and their gradient is as large. Here
    each chunk's logits become its gradient in place, in the forward pass, and are gone before the next
    chunk: see `_sum_and_gradients`. Matrix products are as many as without chunks. The gradients cannot be
    differentiated again.

    Under autocast the matrix products run in its dtype, all else in float32. With "none" and gradients the
    logits of all chunks are kept: what each loss weighs is not known before the backward pass.

    Args:
        hidden: What the head sees.
        weight: Of the head; may be that of the embedding.
        targets: Ids of the right entries; so on as for `cross_entropy`.
        reduction: "mean", "sum" or "none".
        ignore_index: Targets to be left out.
        z_loss: Weight of the squared logarithm of the partition function.
        logit_softcap: Bends every logit to cap * tanh(logit / cap) first; None: no.
        chunk_size: Tokens at a time. None: 512 on the CPU, 4096 elsewhere.

    Raises:
        TypeError: As for `cross_entropy`; if `chunk_size` is not an int or `logit_softcap` not a number.
        ValueError: As for `cross_entropy`; if `chunk_size` or `logit_softcap` is not positive.

    Example:
        >>> hidden, head = torch.randn(2, 5, 16), torch.zeros(8, 16)
        >>> linear_cross_entropy(hidden, head, torch.ones(2, 5, dtype=torch.long), chunk_size=3)  # log 8
        tensor(2.0794)
    """
    check_choice("reduction", reduction, Reduction)
    check_not_negative("z_loss", z_loss)
    _check_targets(hidden, targets, reduction, ignore_index, "hidden")
    if logit_softcap is not None:
        check_positive_finite("logit_softcap", logit_softcap)
    if weight.ndim != 2 or weight.shape[1] != hidden.shape[-1]:
        shapes = f"{tuple(weight.shape)} and {tuple(hidden.shape)}"
        msg = f"weight must be (vocab, d_model), with hidden's last axis as d_model, got shapes {shapes}"
        raise ValueError(msg)
    if chunk_size is None:
        # A chunk costs 2 vocab d_model numbers of traffic to add to the weight's gradient and 6 vocab d_model
        # FLOPs a token. With 15 FLOPs in the time of a byte (CPU) the first is 4 % of the second at 512
        # tokens; a GPU does over 100. Measured on the CPU: 256 tokens cost 4 % more, 1024 cost the same.
        chunk_size = 512 if hidden.device.type == "cpu" else 4096
    check_positive_int("chunk_size", chunk_size)
    rows, ids = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    wants_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    if wants_gradient and reduction != "none" and ids.numel() > 0:
        total, *gradients = _sum_and_gradients(
            rows.detach(), weight.detach(), ids, ignore_index, z_loss, logit_softcap, chunk_size
        )
        total = _with_gradients(total, (rows, weight), gradients)
        return total if reduction == "sum" else total / _num_counted(ids, ignore_index)
    losses = torch.cat(
        [
            _losses(_logits(some, weight, logit_softcap), their_ids, ignore_index, z_loss)
            for some, their_ids in _chunks(rows, ids, chunk_size)
        ]
    )
    return _reduced(losses.view(targets.shape), targets, reduction, ignore_index)


def _sum_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int | None,
    z_loss: float,
    cap: float | None,
    chunk_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the losses of all tokens, chunk by chunk, and differentiate it by `hidden` and `weight` on the way.

    For one token with hidden state h, logits l = W h, Z = sum_j exp(l_j), p = softmax(l) and target t:

        loss     = log Z - l_t + z (log Z)^2
        dloss/dl = p (1 + 2 z log Z) - onehot(t)          as d(log Z)/dl = p
        dloss/dh = W^T dloss/dl,   dloss/dW = dloss/dl h^T

    Nothing here waits for what comes after the loss: the gradient of a sum gives every token the same
    factor, the gradient that arrives, so the backward pass only multiplies by it. With a softcap
    l = c tanh(a / c), a = W h, and dloss/da = dloss/dl (1 - (l / c)^2).
    """
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
    for x, ids in _chunks(hidden.to(dtype), targets, chunk_size):
        logits = x @ head.T if room is None else torch.mm(x, head.T, out=room[: len(x)])
        logits = at_least_float32(logits if cap is None else softcap(logits, cap))
        slope = None if cap is None else 1 - (logits / cap).square()
        counts, index = _counted(ids, ignore_index)
        shift = logits.amax(-1, keepdim=True)
        target_logits = _at_targets(logits, index) - shift
        exps = logits.sub_(shift).exp_()  # the same memory: from here on there are no logits
        sums = exps.sum(-1, keepdim=True)
        log_sums = sums.log()
        losses = log_sums - target_logits
        factors = 1 / sums
        if z_loss != 0:
            log_partition = log_sums + shift
            losses = losses + z_loss * log_partition.square()
            factors = factors * (1 + 2 * z_loss * log_partition)
        total = total + losses.where(counts, 0).sum()
        slopes = _less_one_at(exps.mul_(factors.where(counts, 0)), index, counts)
        if slope is not None:
            slopes.mul_(slope)
        slopes = slopes.to(dtype)
        grads_hidden.append(slopes @ head)
        if grad_weight is None:
            grad_weight = (slopes.T @ x).to(accurate)
        elif grad_weight.dtype == dtype:
            torch.addmm(grad_weight, slopes.T, x, out=grad_weight)
        else:
            grad_weight += slopes.T @ x
    assert grad_weight is not None  # there is a first chunk
    return total, torch.cat(grads_hidden).to(hidden.dtype), grad_weight.to(weight.dtype)


def _less_one_at(slopes: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Subtract 1 at each target that counts."""
    if torch.compiler.is_compiling():
        # No scatter: the compiler makes one pass of this and what comes before and after.
        is_target = torch.arange(slopes.shape[-1], device=slopes.device) == index
        return slopes - (is_target & counts).to(slopes.dtype)
    return slopes.scatter_add_(-1, index, -counts.to(slopes.dtype))


def _with_gradients(total: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Make these the gradients of `total` by these inputs."""
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
        ctx.save_for_backward(*inputs_and_gradients[2:])
        return total.clone()

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return None, grad_hidden * grad, grad_weight * grad, None, None


def _chunks(hidden: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for begin in range(0, max(len(targets), 1), size):  # one empty chunk where there is nothing
        yield hidden[begin : begin + size], targets[begin : begin + size]


def _logits(hidden: Tensor, weight: Tensor, cap: float | None) -> Tensor:
    logits = hidden @ weight.T
    return logits if cap is None else softcap(logits, cap)


def _counted(targets: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Return which targets count and an id for each of them, with an axis for the vocabulary."""
    ids = targets.unsqueeze(-1)
    if ignore_index is None:
        return torch.ones_like(ids, dtype=torch.bool), ids
    counts = ids != ignore_index
    return counts, ids.where(counts, 0)


def _at_targets(logits: Tensor, index: Tensor) -> Tensor:
    """Take each target's logit; on the CPU an id that is none is told by name."""
    try:
        return logits.gather(-1, index)
    except RuntimeError:
        low, high = index.aminmax()
        if low >= 0 and high < logits.shape[-1]:  # it was something else
            raise
        msg = (
            f"targets must be from 0 to {logits.shape[-1] - 1}, got ids from {low} to {high}: give an id that"
            " stands for no target as ignore_index"
        )
        raise ValueError(msg) from None


def _losses(logits: Tensor, targets: Tensor, ignore_index: int | None, z_loss: float) -> Tensor:
    """Compute one loss a target."""
    wide = at_least_float32(logits)
    # It cancels, so it needs no gradient.
    shift = wide.detach().amax(-1, keepdim=True)
    counts, index = _counted(targets, ignore_index)
    log_sums = (wide - shift).exp_().sum(-1, keepdim=True).log()
    losses = log_sums - (_at_targets(wide, index) - shift)
    if z_loss != 0:
        losses = losses + z_loss * (log_sums + shift).square()
    return losses.where(counts, 0).squeeze(-1)


def _reduced(losses: Tensor, targets: Tensor, reduction: Reduction, ignore_index: int | None) -> Tensor:
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / _num_counted(targets, ignore_index)


def _num_counted(targets: Tensor, ignore_index: int | None) -> Tensor | int:
    return targets.numel() if ignore_index is None else (targets != ignore_index).sum()


def _check_targets(x: Tensor, targets: Tensor, reduction: Reduction, ignore_index: object, name: str) -> None:
    if x.ndim == 0:
        msg = f"{name} must have a last axis of scores or features, got the shape ()"
        raise ValueError(msg)
    check_ids("targets", targets)
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        msg = f"ignore_index must be an int, got {ignore_index!r} of type {type(ignore_index).__name__}"
        raise TypeError(msg)
    if targets.shape != x.shape[:-1]:
        shapes = f"{tuple(targets.shape)} and {tuple(x.shape)}"
        msg = f"targets must have the shape of {name} without the last axis, got {shapes}"
        raise ValueError(msg)
    if reduction == "mean" and targets.numel() == 0:
        msg = f"the mean over no targets is undefined, got {name} of shape {tuple(x.shape)}"
        raise ValueError(msg)
