"""A run as it goes on, seen from its metrics.csv."""

import csv
import math
import os
from pathlib import Path


class Follower:
    """Reads what a run has written since the last look.

    A run that goes on from a checkpoint puts a shorter file in the place of the old one: that is read anew.

    Args:
        path: Its metrics.csv, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = self._offset = 0
        self._head: list[str] = []
        self._forget()

    def read(self) -> None:
        """Look again; `step`, `seconds`, `loss` and `evaluations` are then those of the last whole line."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode = status.st_ino
                    self._forget()
                file.seek(self._offset)
                new = file.read()
        except OSError:  # not there yet
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in csv.reader(whole.decode(errors="replace").splitlines()):
            if self._head:
                self._take(dict(zip(self._head, line, strict=False)))
            else:
                self._head = line

    def _forget(self) -> None:
        self._offset = 0
        self._head = []
        self.step = 0
        self.seconds = 0.0
        self.loss = math.nan  # of training, nats a token
        self.evaluations: list[tuple[int, float]] = []  # step and validation loss

    def _take(self, row: dict[str, str]) -> None:
        try:
            self.step, self.seconds = int(row["step"]), float(row["wallclock_time"])
            self.loss = float(row["train_loss"])
            if row["val_loss"] and math.isfinite(loss := float(row["val_loss"])):
                self.evaluations.append((self.step, loss))
        except (KeyError, ValueError):  # a line that is not a run's says nothing
            return
