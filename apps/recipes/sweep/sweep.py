"""A sweep from flags to report: check, prepare, run, sum up."""

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hornbook.trainer import atomic_file

from ..console import say
from ..describe import describe, duration, predicted_seconds
from ..device import check_compile, choose_device
from ..flags import TrainFlags
from ..prepare import prepare
from ..report import MAX_RUNS, find_runs, read_runs, write_report
from ..texts import choose_texts, provide_checked
from .flags import JobFlags
from .outcome import Outcome
from .plans import Plan, Prune
from .point import Point, changed
from .runner import run_sweep

Summary = Callable[[Sequence[Point], Mapping[str, Outcome], Path], str]
"""Takes the points in order, their outcomes and the sweep's directory; returns Markdown."""


def sweep(
    flags: JobFlags,
    plan: Plan,
    about: Mapping[str, Any],
    summary: Summary,
    *,
    title: str,
    name: str,
    prune: Prune | None = None,
    num_runs: int | None = None,
) -> int:
    """Run a plan and write `summary.md`, `figures/` and `report.html` into the sweep's directory.

    What is there from a call before with the same outcomes stays as it is.

    Args:
        flags: What all runs share.
        plan: Which runs there are.
        about: What tells this plan from others; JSON values.
        summary: What the sweep has shown.
        title: Of the report.
        name: Of the directory, if none is given.
        prune: Tells which runs to end early.
        num_runs: Of the whole, where the plan learns them one by one.

    Raises:
        ValueError: On anything that can't be used.
        OSError: If a disk is full or can't be written.
    """
    device = choose_device(flags.device)
    check_compile(flags.experiment, device)
    points = plan({})
    for one in points:  # refused before anything is run
        changed(flags.experiment, one.changes)
    texts = choose_texts(flags.texts)
    say(f"text: {texts.name}")
    if flags.dry_run:
        speed = describe(flags.experiment, device)
        seconds = [predicted_seconds(changed(flags.experiment, one.changes), speed) for one in points]
        number = "1 run" if len(points) == 1 else f"{len(points)} runs"
        say(f"{number} to begin with, about {duration(sum(seconds))} in all, one after another:")
        for one, its in zip(points, seconds, strict=True):
            say(f"  {one.name}  about {duration(its)}")
        if num_runs is not None and num_runs > len(points):
            say(f"  and {num_runs - len(points)} more, each chosen from how those before it did")
        return 0
    experiment = flags.experiment
    digests = provide_checked(texts, experiment.model.context_length)
    identity = {"sweep": dict(about), "experiment": experiment.as_json(), "text": digests}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    directory = flags.out or Path("runs") / f"{name}-{texts.slug}-{flags.preset}-{key}"
    say(f"sweep: {directory}")
    prepare(  # once, here: the runs find it done
        texts,
        **digests,
        vocab_size=experiment.model.vocab_size,
        context_length=experiment.model.context_length,
        cache=flags.texts.data_dir / "cache",
    )
    shared = TrainFlags(**{field.name: getattr(flags, field.name) for field in fields(TrainFlags)})
    outcomes = run_sweep(plan, shared, directory, identity, jobs=flags.jobs, prune=prune, num_runs=num_runs)
    told = summary(plan(outcomes), outcomes, directory)
    say()
    say(told)
    written, report = directory / "summary.md", directory / "report.html"
    runs = [directory / one for one in outcomes if (directory / one / "config.json").is_file()]
    if (
        written.is_file()
        and written.read_bytes() == told.encode()
        and (report.is_file() or not 0 < len(runs) <= MAX_RUNS)
    ):
        return 0
    report.unlink(missing_ok=True)  # the report comes last: where it is, all is there
    with atomic_file(written) as file:
        file.write(told.encode())
    if len(runs) > MAX_RUNS:
        say(f"{len(runs)} runs are more than a page can show: give some of them to apps/report.py")
    elif runs:
        from ..report.figures import draw_figures  # matplotlib takes a second to import

        records = read_runs(find_runs(runs))
        draw_figures(records, directory / "figures")
        write_report(records, report, title=title, command=shlex.join(["uv", "run", *sys.argv]))
        say(f"report: {report}")
    return 0
