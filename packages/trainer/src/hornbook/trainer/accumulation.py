"""The gradient of a batch, a micro-batch at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from .evaluation import Loss


def accumulate(
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    *,
    micro_batch_size: int | None = None,
    loss_scale: float = 1.0,
    accumulating: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[Tensor]:
    """Add the gradient of the mean loss over a batch to `.grad`, and return the parts of that mean.

    The mean over all tokens is the sum over the micro-batches of (their tokens / all tokens) times their own
    mean. So the last one may be smaller, and the sizes change nothing but rounding.

    Args:
        loss: Mean nats a token of (inputs, targets).
        inputs: Windows of token ids; one row a window.
        targets: The same, one place later.
        micro_batch_size: Windows at a time; None: all at once.
        loss_scale: Factor of the gradients, not of what is returned; see `LossScale`.
        accumulating: Entered around each micro-batch but the last: where many processes would add up their
            gradients each time, it keeps them from it (DistributedDataParallel's `no_sync`).

    Returns:
        The part of each micro-batch in the mean loss, without graph; their sum is the mean.

    Example:
        >>> import torch
        >>> weight = torch.tensor(2.0, requires_grad=True)
        >>> rows = torch.tensor([[1.0], [2.0], [6.0]])
        >>> parts = accumulate(lambda x, y: (weight * x).mean(), rows, rows, micro_batch_size=2)
        >>> [round(part.item(), 6) for part in parts], weight.grad  # of the mean 2 * (1 + 2 + 6) / 3
        ([2.0, 4.0], tensor(3.))
    """
    num_windows = len(inputs)
    size = micro_batch_size or num_windows
    parts = []
    for first in range(0, num_windows, size):
        is_last = first + size >= num_windows
        with nullcontext() if is_last else accumulating():
            rows = inputs[first : first + size]
            part = loss(rows, targets[first : first + size]) * (len(rows) / num_windows)
            (part * loss_scale).backward()  # type: ignore[no-untyped-call]
        parts.append(part.detach())
    return parts
