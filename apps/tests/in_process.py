"""Sweeps whose runs take no process of their own: seconds instead of minutes."""

from dataclasses import replace
from pathlib import Path

import pytest

from recipes.flags import TrainFlags
from recipes.run import run
from recipes.sweep import runner
from recipes.sweep.point import Point, changed
from recipes.wrong_input import exit_code_of


class Ended:
    """A process that has ended already."""

    sentinel = 0

    def __init__(self, exitcode: int) -> None:
        self.exitcode = exitcode

    def terminate(self) -> None:
        """There is nothing to end."""

    def join(self) -> None:
        """Nor to wait for."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that were started, in order."""
    names: list[str] = []

    def start(one: Point, flags: TrainFlags, directory: Path, jobs: int) -> Ended:
        names.append(one.name)
        own = replace(flags, experiment=changed(flags.experiment, one.changes), out=directory / one.name)
        return Ended(exit_code_of(lambda: run(own)))

    monkeypatch.setattr("recipes.curve.draw_curve", lambda *_: None)  # half of the time of so small a run
    monkeypatch.setattr(runner, "_start", start)
    monkeypatch.setattr(runner, "wait", lambda _sentinels, _timeout: None)
    return names
