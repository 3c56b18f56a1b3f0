"""What a person sees while a sweep goes on: a bar for the whole and one for each run, or plain lines."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..console import console, say
from ..describe import predicted_seconds
from ..experiment import Experiment
from .follower import Follower
from .outcome import Outcome
from .point import Point, changed

LOOK_EVERY_SECONDS = 1.0
_SPEED_OVER_SECONDS = 3600.0  # runs differ in length: their mean speed tells more than the last seconds'
_WHOLE = 10_000  # of a bar
_SOME_SPEED = 1e11  # FLOP/s: shares of the whole hardly depend on it


class Live:
    """Looks at a sweep and shows where it is.

    Args:
        progress: The bars; None where nobody looks at a terminal.
        base: The experiment that all runs share.
        num_runs: Of the whole, where the plan learns them one by one.
    """

    def __init__(self, progress: Progress | None, base: Experiment, num_runs: int | None) -> None:
        self._progress, self._base, self._num_runs = progress, base, num_runs
        self._whole: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()

    @property
    def is_seen(self) -> bool:
        """Whether it is worth looking at runs while they go on."""
        return self._progress is not None

    def look(
        self, wanted: Sequence[Point], outcomes: Mapping[str, Outcome], running: Mapping[str, Follower]
    ) -> None:
        """Show which runs are wanted, which have ended, and where the others are."""
        total = max(self._num_runs or 0, len(wanted))
        if self._progress is None:
            for one in wanted:
                if one.name in running and one.name not in self._said:
                    self._said.add(one.name)
                    say(f"run {wanted.index(one) + 1} of {total}: {one.name} …")
            return
        costs, done = 0.0, 0.0
        for one in wanted:
            experiment = changed(self._base, one.changes)
            costs += (cost := predicted_seconds(experiment, _SOME_SPEED))
            if one.name in outcomes:
                done += cost
            elif one.name in running:
                done += cost * self._show(one.name, experiment, running[one.name])
        for name in self._tasks.keys() - running.keys():
            self._progress.remove_task(self._tasks.pop(name))
        ended = sum(one.name in outcomes for one in wanted)
        share = done / costs * len(wanted) / total if costs else 0.0
        if self._whole is None:  # what earlier calls have done is no measure of the time that is left
            self._whole = self._progress.add_task("sweep", total=_WHOLE, count="", numbers="")
            self._progress.reset(self._whole, completed=round(_WHOLE * share))
        self._progress.update(self._whole, completed=round(_WHOLE * share), count=f"{ended} of {total} runs")

    def _show(self, name: str, experiment: Experiment, follower: Follower) -> float:
        """Show a run's bar and return which share of it is past."""
        assert self._progress is not None
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=_WHOLE, count="starting", numbers="")
        if not follower.step:
            return 0.0
        past = experiment.loop.fraction(
            step=follower.step,
            tokens=follower.step * experiment.tokens_per_step,
            seconds=follower.seconds,
        )
        of = "" if experiment.planned_steps is None else f" of {experiment.planned_steps:,}"
        valid = f", validation {follower.evaluations[-1][1]:.3f}" if follower.evaluations else ""
        if name not in self._said:  # from here on its speed is measured: not the start, nor what was there
            self._said.add(name)
            self._progress.reset(self._tasks[name], completed=round(_WHOLE * past))
        self._progress.update(
            self._tasks[name],
            completed=round(_WHOLE * past),
            count=f"step {follower.step:,}{of}",
            numbers=f"loss {follower.loss:.3f}{valid}",
        )
        return past


@contextmanager
def shown(base: Experiment, num_runs: int | None = None) -> Iterator[Live]:
    """Put up the bars of a sweep, if there is a terminal.

    Yields:
        What looks at the sweep.
    """
    if not console.is_terminal:
        yield Live(None, base, num_runs)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console, speed_estimate_period=_SPEED_OVER_SECONDS) as progress:
        yield Live(progress, base, num_runs)
