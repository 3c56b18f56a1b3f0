"""What became of a run of a sweep."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hornbook.trainer import atomic_file

Status = Literal["finished", "no better than guessing", "diverged", "out of memory"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of a run, good or not: both are results."""

    status: Status
    val_loss: float | None = None  # nats a token
    bits_per_byte: float | None = None
    steps: int = 0
    seconds: float = 0.0

    @property
    def stable(self) -> bool:
        """Whether the run came to its end and learned something."""
        return self.status == "finished"


def outcome_of(directory: Path, status: Literal["finished", "diverged", "out of memory"]) -> Outcome:
    """Read the outcome of a run that ended.

    A loss above that of equally likely tokens, ln(vocabulary), is no better than guessing: at such rates a
    run has diverged, though clipping keeps its numbers finite.

    Raises:
        ValueError: If the run's files are not those of a run.
    """
    if status != "finished":
        steps, seconds = _progress(directory / "metrics.csv")
        return Outcome(status=status, steps=steps, seconds=seconds)
    try:
        results = json.loads((directory / "results.json").read_bytes())
        vocab_size = len(json.loads((directory / "tokenizer" / "vocab.json").read_bytes()))
        loss, bits = float(results["val_loss"]), float(results["bits_per_byte"])
        return Outcome(
            status="finished" if loss < math.log(vocab_size) else "no better than guessing",
            val_loss=loss,
            bits_per_byte=bits,
            steps=int(results["steps"]),
            seconds=float(results["wallclock_seconds"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        msg = f"{directory} holds no results of a run: {error!r}"
        raise ValueError(msg) from error


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """Return what an earlier call of the sweep has written.

    Raises:
        ValueError: If the file is not a sweep's.
    """
    if not path.exists():
        return {}
    try:
        return {name: Outcome(**fields) for name, fields in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{path} is not a sweep's record ({error}): remove it, and the sweep reads its runs anew"
        raise ValueError(msg) from error


def write_outcomes(path: Path, outcomes: dict[str, Outcome]) -> None:
    """Write them, whole or not at all."""
    content: dict[str, Any] = {
        name: {field: getattr(one, field) for field in Outcome.__dataclass_fields__}
        for name, one in outcomes.items()
    }
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")


def _progress(metrics: Path) -> tuple[int, float]:
    """Step and seconds of the last row that was written; zeros if there is none."""
    if not metrics.exists():
        return 0, 0.0
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return int(rows[-1]["step"]), float(rows[-1]["wallclock_time"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0, 0.0
