"""One HTML file of runs: no network, no server, and nothing in it that a run could run.

Three walls stand between what a run holds and the reader's browser. Every text is escaped; the numbers lie in
a block of JSON in which no `<` is left; and the page's own policy allows one script, named by its SHA-256,
and no connection at all.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import date
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from hornbook.accounting import format_count, format_seconds, num_parameters
from hornbook.trainer import atomic_file, made_directory

from . import tables
from .outcomes import left_nothing
from .runs import RunRecord
from .series import figure_data
from .summaries import as_html, summaries_of


def check_out(out: Path) -> None:
    """Refuse a place that no page can be written to, before anything is read.

    Raises:
        ValueError: If it is a directory.
    """
    if out.is_dir():
        msg = f"--out {out} is a directory: give the name of a file, such as {out / 'report.html'}"
        raise ValueError(msg)


def write_report(
    runs: Sequence[RunRecord], out: Path, *, title: str | None = None, command: str = ""
) -> None:
    """Write the page, whole or not at all.

    Args:
        runs: What it shows, at least one.
        out: The HTML file; its folder is made if need be.
        title: Heading; made of the runs' texts, if not given.
        command: What makes the page again, for its foot.

    Raises:
        OSError: If it can't be written.
    """
    page = render(runs, title=title, command=command)
    with made_directory(out.parent), atomic_file(out) as file:
        file.write(page.encode("utf-8", errors="replace"))


def render(runs: Sequence[RunRecord], *, title: str | None = None, command: str = "") -> str:
    """Return the page."""
    source = files(__package__)
    style, template = (
        source.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.html")
    )
    script = "".join(source.joinpath(name).read_text(encoding="utf-8") for name in ("chart.js", "page.js"))
    texts = list(dict.fromkeys(run.text for run in runs if run.text))
    heading = title or (
        runs[0].name if len(runs) == 1 else f"{len(runs)} runs on {' and '.join(texts) or 'text'}"
    )
    return Template(template).substitute(
        policy=(
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        ),
        title=escape(heading),
        subtitle=escape(f"Text: {', '.join(texts)}. Losses are means over tokens, in nats."),
        style=style,
        tiles=_tiles(runs),
        summary=tables.summary(runs, left_nothing([run.directory for run in runs])),
        summaries=_summaries(runs),
        problems=_problems(runs),
        samples=_samples(runs),
        settings=tables.settings(runs),
        accounting=tables.accounting(runs),
        machines=tables.machines(runs),
        date=date.today().isoformat(),
        command=escape(command),
        data=embedded(json.dumps(figure_data(runs), allow_nan=False, separators=(",", ":"))),
        script=script,
    )


def embedded(text: str) -> str:
    r"""Return JSON that can't end the element it stands in, nor begin another.

    Example:
        >>> print(embedded('"</script>"'))
        "\u003c/script\u003e"
    """
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _tiles(runs: Sequence[RunRecord]) -> str:
    """The numbers of the best run, large."""
    ended = [run for run in runs if run.loss is not None and not run.cut_short]
    if not ended:
        return "<p>No run has been evaluated yet.</p>"
    best = min(ended, key=lambda run: run.loss or 0.0)
    bits = best.results.get("bits_per_byte") or best.last("bits_per_byte")
    seconds = best.results.get("wallclock_seconds") or best.last("wallclock_time")
    tokens = best.last("tokens_processed")
    numbers = [
        (f"{best.loss:.4f}", "nats per token, validation"),
        (f"{bits:.4f}" if isinstance(bits, int | float) else "", "bits per byte"),
        ("" if best.shape is None else format_count(num_parameters(best.shape)), "parameters"),
        ("" if tokens is None else format_count(round(tokens)), "tokens seen"),
        (
            format_seconds(seconds) if isinstance(seconds, int | float) and seconds > 0 else "",
            "training time",
        ),
    ]
    shown = "".join(
        f'<div class="tile"><b>{escape(number)}</b><span>{what}</span></div>'
        for number, what in numbers
        if number
    )
    which = f"<p>Lowest validation loss: <strong>{escape(best.name)}</strong>.</p>" if len(runs) > 1 else ""
    return f'{which}<div class="tiles">{shown}</div>'


def _summaries(runs: Sequence[RunRecord]) -> str:
    told = [as_html(summary) for summary in summaries_of([run.directory for run in runs])]
    return f"<h3>What the runs have shown</h3>{''.join(told)}<h3>The runs</h3>" if told else ""


def _samples(runs: Sequence[RunRecord]) -> str:
    told = [run for run in runs if run.samples]
    if not told:
        return "<p>No run has told anything yet.</p>"
    return "".join(
        f"<details{' open' if index == 0 else ''}><summary>{escape(run.name)}</summary>"
        f"<pre>{escape(run.samples)}</pre></details>"
        for index, run in enumerate(told)
    )


def _problems(runs: Sequence[RunRecord]) -> str:
    lines = [f"<li>{escape(run.name)}: {escape(problem)}</li>" for run in runs for problem in run.problems]
    return (
        f'<p class="bad">Not everything could be read:</p><ul class="bad">{"".join(lines)}</ul>'
        if lines
        else ""
    )
