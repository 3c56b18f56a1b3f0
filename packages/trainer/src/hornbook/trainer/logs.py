"""Where the numbers of a run go: a protocol, and the CSV file that is always written."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .appended_file import AppendedFile, up_to, whole_lines
from .evaluation import Evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The numbers of one step. The first six are the columns that every plot of a run needs."""

    step: int  # updates done
    train_loss: float  # nats a token, of this step's batch, before its update
    val_loss: float | None  # nats a token, where the step was evaluated
    lr: float
    wallclock_time: float  # seconds of running since step 0, pauses between runs not counted
    tokens_processed: int
    grad_norm: float  # before clipping
    tokens_per_second: float  # of this step
    mfu: float | None  # share of the device's peak of FLOP/s, if it was told
    bits_per_byte: float | None  # of the evaluation
    skipped_steps: int  # updates so far that were left out because they were not finite
    flops_per_second: float | None = None  # achieved, if it was told how many a token takes


class Sink(Protocol):
    """Something that is told the numbers as they come."""

    def start(self, step: int) -> None:
        """Hear that the run goes on from `step`; what was told of later steps is void."""

    def log(self, row: Row) -> None:
        """Hear one row."""

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Hear a whole evaluation."""

    def close(self) -> None:
        """Hear that no more comes."""


COLUMNS = tuple(Row.__dataclass_fields__)
TIMED_COLUMNS = frozenset({"wallclock_time", "tokens_per_second", "mfu", "flops_per_second"})
"""What a clock decides: two runs of the same bits differ in these alone."""


class CsvSink:
    """Writes a row a line to a CSV file; a resumed run goes on in it without a gap or a double.

    Args:
        path: The file. Rows in it that lie after the step a run starts from are dropped: they belong to
            updates that were lost with the process that made them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file: AppendedFile | None = None

    def start(self, step: int) -> None:
        """Keep the whole lines up to `step` and open the file behind them."""
        rows = read_rows(self._path) if self._path.exists() else []
        kept = up_to(step, rows, lambda row: int(row[0]), self._path)
        self._file = AppendedFile(self._path, map(_csv, (COLUMNS, *kept)))

    def log(self, row: Row) -> None:
        """Append the row and hand it to the system, so that a killed process loses none."""
        if self._file is None:
            msg = "log() before start()"
            raise RuntimeError(msg)
        values = (getattr(row, name) for name in COLUMNS)
        self._file.append(_csv("" if value is None else value for value in values))

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Nothing: its numbers are in the row."""

    def close(self) -> None:
        """Sync and close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _csv(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def read_rows(path: str | os.PathLike[str]) -> list[list[str]]:
    """Return the lines of a metrics file, without its header and without a last line that was cut by a kill.

    A file from before a column was added, which is always the last one, has empty cells there.

    Raises:
        ValueError: If the header is neither this version's nor an older one's.
    """
    lines = list(csv.reader(whole_lines(Path(path))))
    older = COLUMNS[: COLUMNS.index("skipped_steps") + 1]
    if lines and tuple(lines[0]) not in (COLUMNS, older):
        msg = f"{path} begins with {','.join(lines[0])!r}, expected {','.join(COLUMNS)!r}"
        raise ValueError(msg)
    return [line + [""] * (len(COLUMNS) - len(line)) for line in lines[1:]]
