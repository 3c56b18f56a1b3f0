"""One update: gradient, clipping, a look whether it is finite, and the optimizer's step."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from hornbook.optim import clip_grad_norm_

from .accumulation import accumulate
from .batches import Batch
from .evaluation import Loss
from .precision import LossScale


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What came of a batch."""

    loss: float  # nats a token, before the update
    grad_norm: float  # before clipping
    applied: bool  # whether the weights have changed
    overflowed: bool  # whether it was left out because float16 overflowed: the next one has a smaller scale
    micro_losses: list[Tensor]  # parts of this process in the loss


def update_(
    batch: Batch,
    *,
    model: Module,
    optimizer: Optimizer,
    loss: Loss,
    scale: LossScale,
    lr: float,
    max_grad_norm: float,
    micro_batch_size: int | None,
    agree: Callable[[Tensor], Tensor],
    accumulating: Callable[[], AbstractContextManager[object]],
    before: Callable[[], None],
) -> Update:
    """Change the model by one step of the optimizer, but only if loss and gradient are finite.

    The arguments are those of `train`; `before` is called when gradients are there and no weight has changed.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    micro_losses = accumulate(
        loss,
        *batch,
        micro_batch_size=micro_batch_size,
        loss_scale=scale.value,
        accumulating=accumulating,
    )
    scale.unscale_(param.grad for param in model.parameters())
    norm = clip_grad_norm_(model.parameters(), max_grad_norm)
    # Reading the two numbers waits for the device: the price of never applying an update that is not finite.
    # One read for both.
    numbers = agree(torch.stack((torch.stack(micro_losses).sum().float(), norm.float())))
    mean_loss, grad_norm = numbers.tolist()
    before()
    is_finite = math.isfinite(mean_loss) and math.isfinite(grad_norm)
    overflowed = False
    if is_finite:
        optimizer.step()
        scale.grow()
    elif math.isfinite(mean_loss):
        overflowed = scale.shrink()
    optimizer.zero_grad(set_to_none=True)
    return Update(
        loss=mean_loss,
        grad_norm=grad_norm,
        applied=is_finite,
        overflowed=overflowed,
        micro_losses=micro_losses,
    )
