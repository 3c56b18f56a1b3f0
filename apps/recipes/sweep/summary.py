"""What a sweep has shown, in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..describe import duration
from ..markdown import table
from .outcome import Outcome
from .point import MAX_LR, Point


def sweep_summary(points: Sequence[Point], outcomes: Mapping[str, Outcome], _directory: Path) -> str:
    """A table of all runs, the best of them, and where learning rates end if rates were swept alone."""
    rows = [_row(one, outcomes[one.name]) for one in points]
    head = ["run", "state", "validation loss", "bits per byte", "steps", "time"]
    parts = [table(head, rows)]
    good = [one for one in points if outcomes[one.name].stable]
    if good:
        best = min(good, key=lambda one: outcomes[one.name].val_loss or 0.0)
        parts.append(f"Best: **{best.name}**, {outcomes[best.name].val_loss:.4f} nats per token.")
        if {name for one in points for name, _ in one.changes} == {MAX_LR}:
            parts.append(_edge(points, outcomes, best))
        parts += _best_by_size(good, outcomes)
    return "\n\n".join(parts) + "\n"


def _row(one: Point, outcome: Outcome) -> list[str]:
    loss = "-" if outcome.val_loss is None else f"{outcome.val_loss:.4f}"
    bits = "-" if outcome.bits_per_byte is None else f"{outcome.bits_per_byte:.4f}"
    return [one.name, outcome.status, loss, bits, f"{outcome.steps:,}", duration(outcome.seconds)]


def _edge(points: Sequence[Point], outcomes: Mapping[str, Outcome], best: Point) -> str:
    """Where divergence begins, and how far below it the best rate lies."""
    bad = [one.value(MAX_LR) for one in points if outcomes[one.name].diverged]
    stable = [one.value(MAX_LR) for one in points if outcomes[one.name].stable]
    if not bad:
        return "No rate diverged: the edge of stability lies above those tried."
    highest = max((rate for rate in stable if rate < min(bad)), default=None)
    if highest is None:
        return f"Every rate from {min(bad):g} on diverged: try lower ones."
    return (
        f"The edge of stability lies between {highest:g}, which is stable, and {min(bad):g}, which diverges. "
        f"The best rate, {best.value(MAX_LR):g}, is {best.value(MAX_LR) / min(bad):.2g} of the latter."
    )


def _best_by_size(good: Sequence[Point], outcomes: Mapping[str, Outcome]) -> list[str]:
    """The best of the rates for each batch size, if sizes were swept."""
    sizes = sorted({size for one in good if (size := one.value("batch_size")) is not None})
    if len(sizes) < 2 or not all(one.value(MAX_LR) for one in good):
        return []
    rows = []
    for size in sizes:
        of_size = [one for one in good if one.value("batch_size") == size]
        best = min(of_size, key=lambda one: outcomes[one.name].val_loss or 0.0)
        outcome = outcomes[best.name]
        rates = sorted(one.value(MAX_LR) for one in of_size)
        inner = "" if rates[0] < best.value(MAX_LR) < rates[-1] else " (at the border of those tried)"
        rows.append(
            [
                f"{size:,}",
                f"{best.value(MAX_LR):g}{inner}",
                f"{outcome.val_loss:.4f}",
                f"{outcome.steps:,}",
                duration(outcome.seconds),
            ]
        )
    head = ["batch size", "best rate", "validation loss", "steps", "time"]
    return ["The best rate of each batch size, all on the same number of tokens:", table(head, rows)]
