"""Cross-entropy of given logits, and of logits that never exist all at once."""

from itertools import compress
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._checks import check_choice, check_not_negative, check_positive_finite, check_positive_int
from ._ids import check_ids
from ._targets import at_targets, chunks, counted
from .functional import at_least_float32, softcap
from .fused_loss import sum_and_gradients, with_gradients

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
    chunk: see `fused_loss.py`. Matrix products are as many as without chunks. The gradients cannot be
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
    wanted = [torch.is_grad_enabled() and x.requires_grad for x in (rows, weight)]
    if any(wanted) and reduction != "none" and ids.numel() > 0:
        total, gradients = sum_and_gradients(
            rows.detach(), weight.detach(), ids, wanted, ignore_index, z_loss, logit_softcap, chunk_size
        )
        total = with_gradients(total, list(compress((rows, weight), wanted)), gradients)
        return total if reduction == "sum" else total / _num_counted(ids, ignore_index)
    losses = torch.cat(
        [
            _losses(_logits(some, weight, logit_softcap), their_ids, ignore_index, z_loss)
            for some, their_ids in chunks(rows, ids, chunk_size)
        ]
    )
    return _reduced(losses.view(targets.shape), targets, reduction, ignore_index)


def _logits(hidden: Tensor, weight: Tensor, cap: float | None) -> Tensor:
    logits = hidden @ weight.T
    return logits if cap is None else softcap(logits, cap)


def _losses(logits: Tensor, targets: Tensor, ignore_index: int | None, z_loss: float) -> Tensor:
    """Compute one loss a target."""
    wide = at_least_float32(logits)
    # It cancels, so it needs no gradient.
    shift = wide.detach().amax(-1, keepdim=True)
    counts, index = counted(targets, ignore_index)
    log_sums = (wide - shift).exp_().sum(-1, keepdim=True).log()
    losses = log_sums - (at_targets(wide, index) - shift)
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
