"""Where a run is saved and found again, as the loop sees it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .checkpoint_directory import Restored


class CheckpointStore(Protocol):
    """Where a run is saved and found again: what the loop asks for. `Checkpoints` is one."""

    def restore(self, model: Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint that is whole; None if there is none at all."""
        ...

    def save(
        self,
        step: int,
        model: Module,
        optimizer: Optimizer,
        *,
        wallclock_seconds: float,
        extra_tensors: Mapping[str, Tensor] = ...,
        extra: Mapping[str, Any] = ...,
        metric: float | None = None,
        until_update: bool = False,
    ) -> Path:
        """Take a checkpoint, which may reach the disk later; raise the error of those before, if two failed.

        Args:
            step: Updates done.
            model: Its state is copied before the call returns.
            optimizer: Likewise.
            wallclock_seconds: How long the run has trained.
            extra_tensors: More tensors, such as averaged weights; given back by `restore`.
            extra: More values for JSON, such as counters; given back by `restore`.
            metric: Validation loss, less is better, None if it wasn't measured at this step.
            until_update: Whether the caller will call `before_update` before it changes a parameter, the
                optimizer's state or one of the extra tensors: then they may be copied until that returns.
        """
        ...

    def before_update(self) -> None:
        """Return when what was saved may change: see `until_update`."""
        ...

    def wait(self) -> None:
        """Return when all that was saved is on the disk; raise the error of a save that failed."""
        ...
