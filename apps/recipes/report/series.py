"""The numbers of the figures, as few as a screen can show and as exact as a reader needs."""

import math
from collections.abc import Sequence
from typing import Any

from .runs import RunRecord, differing

MAX_POINTS = 3000  # of a curve; a screen has fewer columns
COLUMNS = ("train_loss", "val_loss", "bits_per_byte", "lr", "grad_norm", "tokens_per_second")
AXES = ("step", "wallclock_time", "tokens_processed")


def figure_data(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Return what the page's script draws, as JSON values."""
    return {"runs": [_run(run) for run in runs], "against": against(runs)}


def against(runs: Sequence[RunRecord]) -> dict[str, Any] | None:
    """Return the final losses by the one number in which runs differ; None if there is no such number.

    Rates that belong together (`max_lr` and `min_lr`) count as one. Runs of several seeds are points above
    each other.
    """
    names = [name for name in differing(runs) if name.rsplit(".", 1)[-1] not in _FOLLOWERS]
    if len(names) != 1 or len(runs) < 3:
        return None
    values = [run.settings.get(names[0]) for run in runs]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    points = [
        {"run": index, "x": value, "y": None if fate(run) else _round(run.loss), "fate": fate(run)}
        for index, (run, value) in enumerate(zip(runs, values, strict=True))
        if run.loss is not None or run.cut_short
    ]
    return {"field": names[0], "points": points}


def first_loss(run: RunRecord) -> float:
    """Return the first training loss of a run: infinite, if there is none."""
    return next((loss for loss in run.columns.get("train_loss", []) if loss is not None), math.inf)


def fate(run: RunRecord) -> str:
    """Return why a run has no final loss to compare: diverged, out of memory, pruned; empty, if it has one.

    One that ended no better than it began has diverged, too: clipping keeps its numbers finite.
    """
    return run.cut_short or ("diverged" if (run.loss or 0.0) > first_loss(run) else "")


# What a sweep scales along with what it sweeps, and what only tells repetitions apart.
_FOLLOWERS = {
    "min_lr",
    "seed",
    "warmup_steps",
    "num_steps",
    "eval_interval_steps",
    "checkpoint_interval_steps",
}


def _run(run: RunRecord) -> dict[str, Any]:
    axes = {name: run.columns[name] for name in AXES if name in run.columns}
    series = {}
    for name in COLUMNS:
        values = run.columns.get(name, [])
        there = [index for index, value in enumerate(values) if value is not None]
        if there:
            series[name] = _thinned(
                {axis: [numbers[index] for index in there] for axis, numbers in axes.items()},
                [values[index] for index in there],
            )
    return {"name": run.name, "series": series, "fate": fate(run)}


def _thinned(axes: dict[str, list[float | None]], values: Sequence[float | None]) -> dict[str, Any]:
    """Average neighbours until no more than MAX_POINTS are left; the axis keeps the last of each group.

    Example:
        >>> _thinned({"step": [1, 2]}, [1.0, 2.0])
        {'step': [1, 2], 'y': [1, 2], 'averaged': 1}
    """
    size = -(-len(values) // MAX_POINTS)
    groups = range(0, len(values), size)
    thin: dict[str, Any] = {
        axis: [_round(numbers[min(start + size, len(numbers)) - 1]) for start in groups]
        for axis, numbers in axes.items()
    }
    means = []
    for start in groups:
        group = [value for value in values[start : start + size] if value is not None]
        means.append(_round(sum(group) / len(group)))
    return thin | {"y": means, "averaged": size}


def _round(value: float | None) -> float | int | None:
    """Six digits: more than a figure shows, and a third of the bytes."""
    if value is None:
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")
