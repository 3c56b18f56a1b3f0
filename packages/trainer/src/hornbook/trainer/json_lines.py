"""The numbers of a run as JSON lines, for programs."""

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .appended_file import AppendedFile, up_to, whole_lines
from .evaluation import Evaluation
from .logs import Row


class JsonLinesSink:
    """Writes a row a line, without what is not known; an evaluated one has the whole evaluation.

        {"step": 100, "train_loss": 3.21, "val_loss": 3.4, ..., "evaluation": {"perplexity": 30.0, ...}}

    JSON has no NaN: a number that is not finite is null. A resumed run goes on without a gap or a double, as
    with `CsvSink`.

    Args:
        path: The file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> sink = JsonLinesSink(path)
        >>> sink.start(0)
        >>> sink.close()
        >>> path.read_text()
        ''
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file: AppendedFile | None = None
        self._evaluation: dict[str, Any] | None = None

    def start(self, step: int) -> None:
        """Keep the whole lines up to `step` and open the file behind them."""
        lines = whole_lines(self._path) if self._path.exists() else []
        kept = up_to(step, lines, lambda line: int(json.loads(line)["step"]), self._path)
        self._file = AppendedFile(self._path, kept)

    def log(self, row: Row) -> None:
        """Append the row, and hand it to the system."""
        if self._file is None:
            msg = "log() before start()"
            raise RuntimeError(msg)
        line: dict[str, Any] = {
            name: _plain(value) for name, value in asdict(row).items() if value is not None
        }
        if self._evaluation is not None:
            line["evaluation"] = self._evaluation
            self._evaluation = None
        self._file.append(json.dumps(line, allow_nan=False))

    def evaluated(self, step: int, evaluation: Evaluation) -> None:  # noqa: ARG002
        """Keep it for the row."""
        values = asdict(evaluation) | {"perplexity": evaluation.perplexity}
        self._evaluation = {name: _plain(value) for name, value in values.items()}

    def close(self) -> None:
        """Sync and close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
