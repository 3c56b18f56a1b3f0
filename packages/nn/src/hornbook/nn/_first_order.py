"""What the backward passes that are written by hand have in common."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Backward = Callable[..., tuple[Tensor | None, ...]]


def first_order(backward: Backward) -> Backward:
    """Refuse to be differentiated, and compute in the dtype of what was saved.

    torch's `once_differentiable` lets `create_graph=True` pass where the gradient that arrives is a constant,
    as that of a loss is; the gradient of the gradient is then wrong in silence. Autocast, where it is on
    during the backward pass, would round sums.

    Args:
        backward: The static method of a `torch.autograd.Function`.
    """

    @wraps(backward)
    def guarded(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # A compiler runs a backward pass to see what it does.
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            msg = (
                f"{ctx.name().strip('_').removesuffix('Backward')} has no second derivative outside of "
                "torch.compile: call backward or grad without create_graph=True"
            )
            raise RuntimeError(msg)
        kind = grads[0].device.type
        if not torch.amp.is_autocast_available(kind):  # as on the meta device
            return backward(ctx, *grads)
        with torch.autocast(kind, enabled=False):
            return backward(ctx, *grads)

    return guarded
