"""What became of a run of a sweep."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hornbook.trainer import atomic_file

from .follower import Follower

Status = Literal["finished", "no better than guessing", "diverged", "out of memory", "pruned"]
"""pruned: ended early, because it lagged behind the runs before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The end of a run, good or not: both are results."""

    status: Status
    val_loss: float | None = None  # nats a token
    bits_per_byte: float | None = None
    steps: int = 0
    seconds: float = 0.0
    evaluations: tuple[tuple[int, float], ...] = ()  # step and validation loss, nats a token

    @property
    def diverged(self) -> bool:
        """Whether its rate was too high: its numbers are none, or it learned nothing."""
        return self.status in ("diverged", "no better than guessing")

    @property
    def stable(self) -> bool:
        """Whether the run came to its end and learned something."""
        return self.status == "finished"


def outcome_of(
    directory: Path, status: Literal["finished", "diverged", "out of memory", "pruned"]
) -> Outcome:
    """Read the outcome of a run that ended.

    A loss above that of equally likely tokens, ln(vocabulary), is no better than guessing: at such rates a
    run has diverged, though clipping keeps its numbers finite.

    Raises:
        ValueError: If the run's files are not those of a run.
    """
    steps, seconds, evaluations = _progress(directory / "metrics.csv")
    if status != "finished":
        loss = evaluations[-1][1] if status == "pruned" and evaluations else None
        return Outcome(
            status=status, val_loss=loss, steps=steps, seconds=seconds, evaluations=tuple(evaluations)
        )
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
            evaluations=tuple(evaluations),
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
        return {name: _outcome(**fields) for name, fields in json.loads(path.read_bytes()).items()}
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


def _outcome(*, evaluations: Sequence[Sequence[float]] = (), **fields: Any) -> Outcome:
    return Outcome(evaluations=tuple((int(step), float(loss)) for step, loss in evaluations), **fields)


def _progress(metrics: Path) -> tuple[int, float, list[tuple[int, float]]]:
    """Step and seconds of the last row that was written, and all evaluations; zeros and none without rows."""
    if not metrics.exists():
        return 0, 0.0, []
    follower = Follower(metrics)
    follower.read()
    return follower.step, follower.seconds, follower.evaluations
