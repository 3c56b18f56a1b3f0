"""A sweep from flags to report: check, prepare, run, sum up."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hornbook.accounting import training_flops
from hornbook.trainer import atomic_file

from ..console import say
from ..describe import TYPICAL_SHARE, describe, duration
from ..device import check_compile, choose_device
from ..experiment import Experiment
from ..flags import TrainFlags
from ..prepare import prepare
from ..report import find_runs, read_runs, write_report
from ..texts import choose_texts, provide_checked
from .flags import JobFlags
from .outcome import Outcome
from .plans import Plan
from .point import Point, changed
from .runner import run_sweep

Summary = Callable[[Sequence[Point], Mapping[str, Outcome], Path], str]
"""Takes the points in order, their outcomes and the sweep's directory; returns Markdown."""


def _seconds(experiment: Experiment, matmul_speed: float) -> float:
    """Predict how long a run takes, as roughly as `describe` does."""
    limit = experiment.loop.max_seconds or math.inf
    if experiment.planned_steps is None:
        return limit
    flops = training_flops(experiment.model, batch_size=experiment.batch_size) * experiment.planned_steps
    return min(limit, flops / (matmul_speed * TYPICAL_SHARE[experiment.compile]))


def sweep(
    flags: JobFlags, plan: Plan, about: Mapping[str, Any], summary: Summary, *, title: str, name: str
) -> int:
    """Run a plan and write `summary.md`, `report.html` and `figures/` into the sweep's directory.

    Args:
        flags: What all runs share.
        plan: Which runs there are.
        about: What tells this plan from others; JSON values.
        summary: What the sweep has shown.
        title: Of the report.
        name: Of the directory, if none is given.

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
        seconds = sum(_seconds(changed(flags.experiment, one.changes), speed) for one in points)
        say(f"{len(points)} runs to begin with, about {duration(seconds)} in all, one after another:")
        for one in points:
            say(f"  {one.name}")
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
    outcomes = run_sweep(plan, shared, directory, identity, jobs=flags.jobs)
    told = summary(plan(outcomes), outcomes, directory)
    with atomic_file(directory / "summary.md") as file:
        file.write(told.encode())
    say()
    say(told)
    runs = [directory / one for one in outcomes if (directory / one / "config.json").is_file()]
    records = read_runs(find_runs(runs)) if runs else []
    if records:
        from ..report.figures import draw_figures  # matplotlib takes a second to import

        write_report(records, directory / "report.html", title=title)
        draw_figures(records, directory / "figures")
        say(f"report: {directory / 'report.html'}")
    return 0
