"""The tables of a report as HTML; every word from a run is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hornbook.accounting import (
    format_bytes,
    format_count,
    format_flops,
    format_seconds,
    forward_ledger,
    num_non_embedding_parameters,
    num_parameters,
    parameter_ledger,
    training_flops,
)

from .runs import RunRecord, differing

_NONE = "-"


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int | None = None, name: str = ""
) -> str:
    """Return a table of cells that are HTML already.

    Args:
        head: Titles of the columns.
        rows: Cells.
        numbers_from: The first column that is aligned as numbers, as are those after it.
        name: Class of the table.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        kinds = ("txt" if numbers_from is None or i < numbers_from else "num" for i in range(len(cells)))
        return "".join(
            f'<{tag} class="{kind}"{scope}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table class="{name}"><thead><tr>{line(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def summary(runs: Sequence[RunRecord], left_nothing: Mapping[str, str]) -> str:
    """One line a run: what came out, at what cost, and in what the runs differ.

    Args:
        runs: What is shown.
        left_nothing: How runs ended that have no directory, by name.
    """
    changed = differing(runs)[:8]
    head = [
        "run",
        "state",
        "validation loss",
        "perplexity",
        "bits per byte",
        "parameters",
        "tokens",
        "time",
        "tokens/s",
    ]
    head += [escape(name.rsplit(".", 1)[-1]) for name in changed]
    finished = [run.loss for run in runs if not run.cut_short and run.loss is not None]
    rows = []
    for index, run in enumerate(runs):
        best = len(runs) > 1 and run.loss is not None and finished and run.loss == min(finished)
        loss = _cell(run.loss, 4)
        rows.append(
            [
                f'<span class="dot c{index}"></span>{escape(run.name)}',
                escape(run.status),
                f"<strong>{loss}</strong>" if best and not run.cut_short else loss,
                _perplexity(run.results.get("perplexity")),
                _cell(run.results.get("bits_per_byte") or run.last("bits_per_byte"), 4),
                _NONE if run.shape is None else format_count(num_parameters(run.shape)),
                _count(run.last("tokens_processed")),
                _seconds(run.results.get("wallclock_seconds") or run.last("wallclock_time")),
                _count(tokens_per_second(run)),
                *(escape(shown(run.settings.get(name))) for name in changed),
            ]
        )
    rows += [
        [escape(name), escape(status), *[_NONE] * (len(head) - 2)] for name, status in left_nothing.items()
    ]
    return table(head, rows, numbers_from=2, name="sortable")


def settings(runs: Sequence[RunRecord]) -> str:
    """All settings, those in which runs differ first."""
    changed = differing(runs)
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    parts = []
    if changed:
        rows = [[_code(name), *(escape(shown(run.settings.get(name))) for run in runs)] for name in changed]
        head = ["setting", *(escape(run.name) for run in runs)]
        parts.append(f"<h3>Different</h3>{table(head, rows, name='grid')}")
    same = [name for name in names if name not in changed]
    rows = [[_code(name), escape(shown(runs[0].settings.get(name)))] for name in same]
    title = "The same in all" if len(runs) > 1 else "Settings"
    block = table(["setting", "value"], rows, name="grid")
    unfolded = "" if len(runs) > 1 else " open"
    parts.append(f"<details{unfolded}><summary>{title} ({len(same)})</summary>{block}</details>")
    return "".join(parts)


def accounting(runs: Sequence[RunRecord]) -> str:
    """Parameters, operations and memory of each shape, by formula, and what was measured of them."""
    shapes = list(dict.fromkeys(run.shape for run in runs if run.shape is not None))
    parts = []
    for shape in shapes:
        users = [run for run in runs if run.shape == shape]
        parameters = [
            [escape(row.component), escape(row.shape), escape(row.formula), f"{row.num_parameters:,}"]
            for row in parameter_ledger(shape)
        ]
        operations = [
            [escape(row.operation), escape(row.formula), format_flops(row.flops), f"{row.share:.1%}"]
            for row in forward_ledger(shape)
        ]
        parts += [
            f"<h3>{format_count(num_parameters(shape))} parameters</h3>",
            _note(", ".join(run.name for run in users)),
            _note(
                f"{num_parameters(shape):,} parameters, {num_non_embedding_parameters(shape):,} of them "
                "outside embedding and head."
            ),
            table(["component", "shape", "formula", "parameters"], parameters, numbers_from=3),
            _note(
                "Matrix multiplies of one forward pass over one context; training takes three times as many."
            ),
            table(["operation", "formula", "forward", "share"], operations, numbers_from=2),
        ]
        head = ["run", "training", "time", "speed", "memory, by formula", "measured"]
        parts += [
            table(head, [_work(run) for run in users], numbers_from=1),
            _note(
                "Memory by formula: the most that the tensors of a step take in one process, uncompiled. "
                "Measured: the most that training took, of a GPU in tensors; else of the process beyond what "
                "it had before, with what the allocator keeps for itself and without files that are mapped."
            ),
        ]
    return "".join(parts) or "<p>The shape of no model is known.</p>"


def machines(runs: Sequence[RunRecord]) -> str:
    """Where each run began, and with which versions."""
    names = list(dict.fromkeys(name for run in runs for name in run.about))
    if not names:
        return "<p>Nothing is recorded.</p>"
    groups: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        groups.setdefault(tuple(shown(run.about.get(name)) for name in names), []).append(run.name)
    rows = [[_code(name), *(escape(values[index]) for values in groups)] for index, name in enumerate(names)]
    head = ["", *(escape(", ".join(users)) for users in groups.values())]
    return table(head, rows, name="grid")


def shown(value: Any) -> str:
    """Return a setting as a reader wants it.

    Example:
        >>> [shown(value) for value in (0.0003, 1e4, 10000, True, None, [0.9, 0.95], ["a", "--b"])]
        ['0.0003', '10,000', '10,000', 'yes', '-', '0.9, 0.95', 'a --b']
    """
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    if isinstance(value, list):
        return (" " if all(isinstance(one, str) for one in value) else ", ").join(map(shown, value))
    return str(value)


def tokens_per_second(run: RunRecord) -> float | None:
    """Return the mean over the run: all tokens over all seconds."""
    tokens, seconds = run.last("tokens_processed"), run.last("wallclock_time")
    return tokens / seconds if tokens and seconds else None


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _code(name: str) -> str:
    return f"<code>{escape(name)}</code>"


def _work(run: RunRecord) -> list[str]:
    """What a run has done, how fast, and in how much memory."""
    flops, time = _flops(run), run.last("wallclock_time")
    speed = f"{format_flops(int(flops / time))}/s" if flops and time else _NONE
    predicted = _NONE if run.predicted_bytes is None else format_bytes(run.predicted_bytes)
    measured = "not measured" if run.peak_bytes is None else format_bytes(run.peak_bytes)
    done = format_flops(flops) if flops else _NONE
    return [escape(run.name), done, _seconds(time), speed, predicted, measured]


def _flops(run: RunRecord) -> int:
    """Training FLOPs up to where the run is."""
    tokens = run.last("tokens_processed")
    if run.shape is None or tokens is None:
        return 0
    return round(training_flops(run.shape) * tokens / run.shape.context_length)


def _cell(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else _NONE


def _perplexity(value: Any) -> str:
    """A run that diverged has one of seventeen digits, which nobody reads."""
    return f"{value:.2e}" if isinstance(value, int | float) and value >= 1e6 else _cell(value, 2)


def _count(value: float | None) -> str:
    return _NONE if value is None else format_count(round(value))


def _seconds(value: Any) -> str:
    return format_seconds(value) if isinstance(value, int | float) and value > 0 else _NONE
