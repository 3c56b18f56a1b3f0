"""torch.compile where it works, and a clear word where it doesn't."""

import logging
import os
from pathlib import Path

import torch
from torch import Tensor

from .evaluation import Loss

logger = logging.getLogger(__name__)


def compiled(loss: Loss, *, cache: str | os.PathLike[str] | None = None) -> Loss:
    """Return the loss compiled; where torch can't, the loss itself, after one warning that says why.

    The first call compiles, forward and backward, for tens of seconds; so does the first one with another
    shape. What was compiled is kept in a directory, so the next process takes seconds.

    Args:
        loss: Mean nats a token of (inputs, targets).
        cache: Directory of what was compiled, for this process and its children; None: torch's default,
            which is a temporary one on most systems. `TORCHINDUCTOR_CACHE_DIR`, if set, is obeyed.
    """
    if cache is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(cache).absolute()))
    return _Compiled(loss)


class _Compiled:
    def __init__(self, loss: Loss) -> None:
        self._eager = loss
        # The shapes of a run are few and fixed: a program for each is faster than one for all.
        self._loss: Loss = torch.compile(loss, dynamic=False)

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        # Here, because its import takes a second and settles where the cache is.
        from torch._dynamo.exc import TorchDynamoException

        try:
            # The backward pass is compiled now and not when it is first needed, out of reach of this try.
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                return self._loss(inputs, targets)
        except TorchDynamoException as error:
            if self._loss is self._eager:
                raise
            reason = " ".join(str(error).split("\n")[:2])  # the rest is advice for torch's developers
            logger.warning("going on without torch.compile, which failed: %s", reason)
            self._loss = self._eager
        return self._loss(inputs, targets)
