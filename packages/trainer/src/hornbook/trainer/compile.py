"""torch.compile where it works, and a clear word where it doesn't."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

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
    _use_cache(cache)
    return _Compiled(loss)


def compile_blocks(blocks: Iterable[Module], *, cache: str | os.PathLike[str] | None = None) -> None:
    """Compile each block by itself, as `compiled` does a loss: for FSDP, which gathers around each.

    Args:
        blocks: Changed in place; those of a Transformer.
        cache: As for `compiled`.
    """
    _use_cache(cache)
    for block in blocks:
        block.forward = _Compiled(block.forward)


def _use_cache(cache: str | os.PathLike[str] | None) -> None:
    if cache is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(cache).absolute()))


class _Compiled:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._eager = function
        # The shapes of a run are few and fixed: a program for each is faster than one for all.
        self._function: Callable[..., Any] = torch.compile(function, dynamic=False)

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        # Here, because its import takes a second and settles where the cache is.
        from torch._dynamo.exc import TorchDynamoException

        try:
            # The backward pass is compiled now and not when it is first needed, out of reach of this try.
            with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
                return self._function(*inputs, **more)
        except TorchDynamoException as error:
            if self._function is self._eager:
                raise
            reason = " ".join(str(error).split("\n")[:2])  # the rest is advice for torch's developers
            logger.warning("going on without torch.compile, which failed: %s", reason)
            self._function = self._eager
        return self._function(*inputs, **more)
