"""Updates whose loss or gradient is not finite: which windows they were made of."""

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from .appended_file import AppendedFile, whole_lines
from .shards import here

logger = logging.getLogger(__name__)


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight is no longer finite. The update was not applied, or is not saved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadStep:
    """An update that was left out."""

    step: int
    micro_losses: Sequence[float]
    """Parts of the loss, one a micro-batch; those at fault are not finite, if any is."""
    micro_batch_size: int
    """Windows a micro-batch; the last may have fewer."""
    grad_norm: float
    lr: float

    def __str__(self) -> str:
        """Say what was wrong."""
        return (
            f"step {self.step}: loss {sum(self.micro_losses)}, gradient norm {self.grad_norm}, "
            f"rate {self.lr:.3g}: not applied"
        )


def check_weights(model: Module, step: int, agree: Callable[[Tensor], Tensor]) -> None:
    """Refuse to save weights that are not finite: the checkpoint before them is worth more.

    Args:
        model: Whose parameters are looked at.
        step: For the message.
        agree: See `train`: the error is raised in all processes if it is in one.

    Raises:
        DivergedError: Naming the first of them.
    """
    named = model.named_parameters()
    bad = [name for name, param in named if not bool(here(param.detach()).isfinite().all())]
    if agree(torch.tensor([float(len(bad))], dtype=torch.float64)).item():
        where = bad[0] if bad else "a weight of another process"
        msg = f"step {step}: {where} is not finite: not saved"
        raise DivergedError(msg)


def log_bad_step(bad: BadStep) -> None:
    """Say it in the log."""
    logger.warning("%s", bad)


class BadStepFile:
    """Appends a JSON line for each update that was left out, and says it in the log.

    A run that goes on from before it, and leaves it out again, doesn't say it twice: the newer line stays.

        {"step": 12, "grad_norm": "nan", "lr": 0.003, "micro_losses": ["nan", 0.7], "micro_batch_size": 2,
         "starts": [[51, 907], [312, 4]]}

    `starts` are the places of the windows in the token file, by micro-batch.

    Args:
        path: The file; made when the first line is written.
        starts: Place of each window of a step's batch: that of `random_windows` or `epoch_windows`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "bad_steps.jsonl"
        >>> record = BadStepFile(path, lambda step: np.array([51, 907, 312]))
        >>> losses = [0.5, math.nan]
        >>> record(BadStep(step=12, micro_losses=losses, micro_batch_size=2, grad_norm=math.nan, lr=1.0))
        >>> json.loads(path.read_text())["starts"]
        [[51, 907], [312]]
    """

    def __init__(self, path: str | os.PathLike[str], starts: Callable[[int], NDArray[np.int64]]) -> None:
        self._path = Path(path)
        self._starts = starts

    def __call__(self, bad: BadStep) -> None:
        """Write the line and sync it: the process is likely to end.

        Raises:
            OSError: If the disk is full; the message names the file and the bytes needed.
        """
        log_bad_step(bad)
        starts, size = self._starts(bad.step).tolist(), bad.micro_batch_size
        line = {
            "step": bad.step,
            "grad_norm": _json_number(bad.grad_norm),
            "lr": bad.lr,
            "micro_losses": [_json_number(value) for value in bad.micro_losses],
            "micro_batch_size": size,
            "starts": [starts[first : first + size] for first in range(0, len(starts), size)],
        }
        before = whole_lines(self._path) if self._path.exists() else []
        file = AppendedFile(
            self._path, [other for other in before if _place(other) != _place(json.dumps(line))]
        )
        try:
            file.append(json.dumps(line))
        finally:
            file.close()


def _place(line: str) -> tuple[Any, Any]:
    """The step of a line and its windows, which differ from process to process."""
    try:
        parsed = json.loads(line)
        return parsed["step"], parsed["starts"]
    except (ValueError, KeyError, TypeError):
        return line, None


def _json_number(value: float) -> float | str:
    """JSON has no NaN and no infinity: their names."""
    return value if math.isfinite(value) else str(value)
