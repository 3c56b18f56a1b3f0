"""The figures of a report as PNG and SVG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: a machine without a screen draws as well

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hornbook.trainer import atomic_file, made_directory

from .runs import RunRecord
from .series import against, fate, first_loss

matplotlib.rcParams["svg.hashsalt"] = "hornbook"  # names in an SVG are else drawn by chance
_HUES = ("#2a62c9", "#d1590a", "#11805a", "#b02a6f", "#6a4fc3", "#8a6d00", "#0b7d98", "#8f3b2e")
_FEW = 4
_FATES = {"diverged": "#b3261e", "out of memory": "#5b6270", "pruned": "#8a6d00"}


def draw_figures(runs: Sequence[RunRecord], directory: Path) -> list[Path]:
    """Draw the loss by step and by wall clock and, if the runs differ in one number, the final loss by it.

    Args:
        runs: The runs, laid over each other.
        directory: Where `NAME.png` and `NAME.svg` go; made if need be.

    Returns:
        The files.
    """
    figures = {
        "loss-by-step": _curves(runs, "step", "step", 1.0),
        "loss-by-time": _curves(runs, "wallclock_time", *_clock(runs)),
    }
    if (points := against(runs)) is not None:
        figures["final-loss"] = _against(points["field"], points["points"], runs)
    paths = []
    with made_directory(directory):
        for name, figure in figures.items():
            for kind in ("png", "svg"):
                paths.append(directory / f"{name}.{kind}")
                with atomic_file(paths[-1]) as file:
                    # No date in it: the same runs give the same file.
                    figure.savefig(
                        file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None
                    )
    return paths


def colors(num_runs: int) -> list[str | tuple[float, ...]]:
    """Return a hue for each of a few runs, else a scale from the first to the last."""
    if num_runs <= len(_HUES):
        return list(_HUES[:num_runs])
    scale = colormaps["viridis"]
    return [scale(0.9 * index / (num_runs - 1)) for index in range(num_runs)]


def _curves(runs: Sequence[RunRecord], axis: str, title: str, unit: float) -> Figure:
    figure, axes = _figure(title)
    losses, ends = [], []
    for run, color in zip(runs, colors(len(runs)), strict=True):
        x = [value / unit for value in _gaps(run.columns.get(axis, []))]
        train, valid = run.columns.get("train_loss", []), run.columns.get("val_loss", [])
        losses += [value for value in (*train, *valid) if value is not None]
        axes.plot(x, _gaps(train), color=color, alpha=0.25, linewidth=0.7)
        points = [(a, b) for a, b in zip(x, valid, strict=False) if a is not None and b is not None]
        axes.plot(
            *_columns(points), color=color, marker="o", markersize=2.5, linewidth=1.5, label=_label(run)
        )
        if fate(run):
            ends.append((x[-1:], train[-1:], color))
    if losses:  # a run that diverges, above its first loss, would flatten all others
        lowest, highest = min(losses), min(max(losses), max(map(first_loss, runs)))
        margin = 0.05 * (highest - lowest) or 0.05
        axes.set_ylim(lowest - margin, highest + margin)
        for x, loss, color in ends:
            if x and loss[0] is not None:
                axes.plot(x, [min(loss[0], highest)], color=color, marker="x", markersize=8, linestyle="")
    axes.set_ylabel("loss, nats per token")
    if len(runs) > _FEW:  # in the figure they would lie over the curves
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    else:
        axes.legend(frameon=False, fontsize=8)
    return figure


def _against(field: str, points: Sequence[dict[str, Any]], runs: Sequence[RunRecord]) -> Figure:
    figure, axes = _figure(_plain(field))
    shades = colors(len(runs))
    there = [
        (float(p["x"] or 0), float(p["y"]), shades[int(p["run"] or 0)]) for p in points if p["y"] is not None
    ]
    xs = sorted({x for x, _, _ in there})
    means = [(x, sum(ys) / len(ys)) for x in xs if (ys := [y for at, y, _ in there if at == x])]
    axes.plot(*_columns(means), color="#9aa3b2", linewidth=1.2)
    axes.scatter(
        [x for x, _, _ in there], [y for _, y, _ in there], c=[shade for *_, shade in there], zorder=3
    )
    cut_short = [(str(p["fate"]), float(p["x"] or 0)) for p in points if p["y"] is None]
    top = axes.get_ylim()[1]
    for why, color in _FATES.items():
        if at := [x for kind, x in cut_short if kind == why]:
            axes.scatter(at, [top] * len(at), marker="x", color=color, clip_on=False, label=why)
            axes.legend(frameon=False)
    every = [*xs, *(x for _, x in cut_short)]
    if min(every, default=0) > 0 and max(every) / min(every) > 8:
        axes.set_xscale("log")
    axes.set_ylabel("validation loss, nats per token")
    return figure


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(title)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _clock(runs: Sequence[RunRecord]) -> tuple[str, float]:
    longest = max((run.last("wallclock_time") or 0.0 for run in runs), default=0.0)
    name, unit = (
        ("hours", 3600.0) if longest > 5400 else ("minutes", 60.0) if longest > 100 else ("seconds", 1.0)
    )
    return f"wall clock, {name}", unit


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label(run: RunRecord) -> str:
    return _plain(run.name) + (f", {fate(run)}" if fate(run) else "")


def _plain(name: str) -> str:
    """A name is a name: matplotlib would set what stands between two dollars as mathematics."""
    return name.replace("$", r"\$")
