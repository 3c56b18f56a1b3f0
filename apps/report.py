"""One HTML file about one run or many: curves to look into, tables, settings, samples, cost, machine.

The file needs no network and no server: open it from the disk, send it, print it, hand it in.

Examples:
    uv run apps/report.py runs/tinystories-demo-1a2b3c4d
    uv run apps/report.py runs/sweep-lr                       # every run in it
    uv run apps/report.py runs/a runs/b --out a-and-b.html --title "Two learning rates"
    uv run apps/report.py runs/a --figures figures --dry-run  # the figures as PNG and SVG too
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recipes.command_line import read_flags
from recipes.console import say
from recipes.report import check_out, described, find_runs, read_runs, write_report
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to report on, and where to."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Directories of runs, or directories that hold some."""
    out: Path = Path("report.html")
    """The file to write; one that is there is replaced."""
    title: str | None = None
    """Heading of the page."""
    figures: Path | None = None
    """A directory for the figures as PNG and SVG."""
    dry_run: bool = False
    """List the runs that would be shown and what would be written, and stop."""


def main(flags: Flags) -> int:
    """Read the runs, write the page, say where it is."""
    check_out(flags.out)
    runs = read_runs(find_runs(flags.runs))
    if flags.dry_run:
        say("\n".join(described(runs, [flags.out, *filter(None, [flags.figures])])))
        return 0
    write_report(runs, flags.out, title=flags.title, command=shlex.join(["uv", "run", *sys.argv]))
    say(f"{flags.out}  {flags.out.stat().st_size / 1e3:,.0f} kB")
    if flags.figures is not None:
        from recipes.report.figures import draw_figures  # matplotlib takes a second to import

        say("\n".join(map(str, draw_figures(runs, flags.figures))))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
