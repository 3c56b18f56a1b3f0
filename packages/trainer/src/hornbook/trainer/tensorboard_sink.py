"""Curves in TensorBoard (extra `tensorboard`).

By tensorboardX: it writes the same files as `torch.utils.tensorboard` with protobuf alone, where that one
needs the whole of TensorBoard, a server with its dependencies, on the machine that trains.
"""

import os
from dataclasses import asdict
from typing import Any

from .evaluation import Evaluation
from .logs import Row

_TAGS = {"train_loss": "loss/train", "val_loss": "loss/validation", "bits_per_byte": "loss/bits_per_byte"}


class TensorBoardSink:
    """Writes each number of a row as a scalar; wrap it in a `BackgroundSink`.

    Args:
        directory: What `tensorboard --logdir` is to be given.

    Raises:
        ImportError: If tensorboardX is not installed.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        import tensorboardX  # type: ignore[import-untyped]  # here: never imported unless asked for

        self._make = tensorboardX.SummaryWriter
        self._directory = str(directory)
        self._writer: Any = None

    def start(self, step: int) -> None:
        """Open a file; TensorBoard is told to forget what came after `step`."""
        self._writer = self._make(self._directory, purge_step=step + 1)

    def log(self, row: Row) -> None:
        """Write the numbers of the row."""
        for name, value in asdict(row).items():
            if name != "step" and value is not None:
                self._writer.add_scalar(_TAGS.get(name, name), value, row.step)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Nothing: its numbers are in the row."""

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
