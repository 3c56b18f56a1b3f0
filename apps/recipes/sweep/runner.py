"""Runs a plan: a process a run, several at once if asked; killed at any moment, it goes on where it was."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from hornbook.trainer import RunDirectoryError, made_directory, run_directory

from ..console import say
from ..describe import duration
from ..flags import TrainFlags
from ..run import run
from ..wrong_input import DIVERGED, exit_code_of
from .follower import Follower
from .live import LOOK_EVERY_SECONDS, shown
from .outcome import Outcome, outcome_of, read_outcomes, write_outcomes
from .plans import Plan, Prune
from .point import Point, changed

_SECONDS_TO_LET_GO = 60  # of a run by the process of a sweep that was killed, which saves it first


def run_sweep(
    plan: Plan,
    flags: TrainFlags,
    directory: Path,
    identity: Mapping[str, Any],
    *,
    jobs: int = 1,
    prune: Prune | None = None,
    num_runs: int | None = None,
) -> dict[str, Outcome]:
    """Run what the plan wants and isn't done yet.

    Args:
        plan: Which runs there are.
        flags: What all runs share.
        directory: Of the sweep: `NAME/` is a run, `NAME.log` what it said, `outcomes.json` what came of all.
        identity: What the sweep depends on, as JSON values: another one is refused in this directory.
        jobs: Runs at once. They share the processors, and on a GPU its memory.
        prune: Asked about each run after its evaluations, whether to end it.
        num_runs: Of the whole, where the plan learns them one by one.

    Returns:
        Outcomes by name, also of earlier calls.

    Raises:
        RunDirectoryError: If the directory holds another sweep, something else, or is in use.
        ValueError: If a run failed for another reason than divergence or memory; its log says more.
    """
    with _held(directory, identity), shown(flags.experiment, num_runs) as live:
        record = directory / "outcomes.json"
        outcomes = read_outcomes(record)
        running: dict[str, _Running] = {}
        look_every = LOOK_EVERY_SECONDS if prune or live.is_seen else None
        try:
            while True:
                wanted = plan(outcomes)
                for one in wanted:
                    if len(running) < jobs and one.name not in outcomes and one.name not in running:
                        process = _start(one, flags, directory, jobs)
                        running[one.name] = _Running(process, Follower(directory / one.name / "metrics.csv"))
                if not running:
                    return {one.name: outcomes[one.name] for one in wanted}
                live.look(wanted, outcomes, {name: one.follower for name, one in running.items()})
                wait([one.process.sentinel for one in running.values()], look_every)
                for name, run_ in list(running.items()):
                    run_.follower.read()
                    ended = run_.process.exitcode is not None
                    if not ended and prune and run_.is_evaluated():
                        ended = prune(name, run_.follower.evaluations, outcomes)
                    if ended:
                        del running[name]
                        outcomes[name] = _ended(directory, name, run_.process)
                        write_outcomes(record, outcomes)
                        total = max(num_runs or 0, len(plan(outcomes)))
                        done = sum(one.name in outcomes for one in plan(outcomes))
                        say(f"{done} of {total}  {name}: {told(outcomes[name])}")
        except KeyboardInterrupt:
            say("stopping; what runs is saved first, and the same command goes on")
            raise
        finally:  # Ctrl-C, SIGTERM, or a run that failed: the others save and end
            for run_ in running.values():
                run_.process.terminate()
            for run_ in running.values():
                run_.process.join()


@dataclass
class _Running:
    """A run that goes on."""

    process: SpawnProcess
    follower: Follower
    seen: int = 0  # evaluations

    def is_evaluated(self) -> bool:
        """Tell whether there are evaluations that were not seen before."""
        before, self.seen = self.seen, len(self.follower.evaluations)
        return self.seen != before


def told(outcome: Outcome) -> str:
    """Return an outcome as a line.

    Example:
        >>> told(Outcome(status="finished", val_loss=2.0, bits_per_byte=0.7, steps=100, seconds=42.0))
        'loss 2.0000, 0.7000 bits per byte, 42 s'
        >>> told(Outcome(status="diverged", steps=7))
        'diverged after step 7'
    """
    if outcome.val_loss is None:
        return f"{outcome.status} after step {outcome.steps:,}"
    word = "" if outcome.stable else f"{outcome.status} after step {outcome.steps:,}: "
    bits = "" if outcome.bits_per_byte is None else f", {outcome.bits_per_byte:.4f} bits per byte"
    return f"{word}loss {outcome.val_loss:.4f}{bits}, {duration(outcome.seconds)}"


@contextmanager
def _held(directory: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Hold the sweep's directory: what it is, is written before any run, and one process has it at a time."""
    place = directory / ".sweep"
    if directory.exists() and not place.exists():
        strangers = (
            sorted(path.name for path in directory.iterdir()) if directory.is_dir() else [str(directory)]
        )
        if strangers:
            msg = f"{directory} is not empty and holds no sweep ({strangers[0]}): choose another --out"
            raise RunDirectoryError(msg)
    with made_directory(directory):
        try:
            with run_directory(place, identity, about={}):
                pass  # from here on it stays, whatever happens to the runs
        except RunDirectoryError as error:
            raise RunDirectoryError(str(error).replace("holds a run with", "holds a sweep with")) from error
    with run_directory(place, identity, about={}):
        yield


def _start(one: Point, flags: TrainFlags, directory: Path, jobs: int) -> SpawnProcess:
    own = replace(
        flags, experiment=changed(flags.experiment, one.changes), out=directory / one.name, dry_run=False
    )
    # Spawned: a forked process shares the parent's threads and its CUDA context.
    process = multiprocessing.get_context("spawn").Process(
        target=_work, args=(own, directory / f"{one.name}.log", jobs)
    )
    process.start()
    return process


def _work(flags: TrainFlags, log: Path, jobs: int) -> None:
    """Be the process of a run."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C is the sweep's to hear, which then tells its runs
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    if jobs > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    sys.exit(exit_code_of(lambda: _run_when_free(flags)))


def _run_when_free(flags: TrainFlags) -> int:
    until = time.monotonic() + _SECONDS_TO_LET_GO
    while True:
        try:
            return run(flags)
        except RunDirectoryError as error:
            if "in use" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(1)


def _end_with_parent() -> None:
    """Save and end when the sweep is killed: it would start this run a second time."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(directory: Path, name: str, process: SpawnProcess) -> Outcome:
    """Tell what became of a run from how its process ended; one that goes on is pruned, and saves first.

    Raises:
        ValueError: If it is no result.
    """
    if process.exitcode is None:
        process.terminate()
        process.join()
        if process.exitcode in (128 + signal.SIGTERM, -signal.SIGTERM):  # else it came to its own end
            return outcome_of(directory / name, "pruned")
    if process.exitcode == 0:
        return outcome_of(directory / name, "finished")
    if process.exitcode == DIVERGED:
        return outcome_of(directory / name, "diverged")
    log = directory / f"{name}.log"
    if process.exitcode is not None and process.exitcode < 0:
        msg = (
            f"the run {name} was killed by signal {-process.exitcode}, as a system does whose memory is full "
            f"({log} says how far it came); the same command goes on where it was"
        )
        raise ValueError(msg)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    last = lines[-1] if lines else "it said nothing"
    if last.startswith("error: out of memory"):
        return outcome_of(directory / name, "out of memory")
    why = f"{last.removeprefix('error: ')} ({log} says more)"
    msg = f"the run {name} ended with exit code {process.exitcode}: {why}"
    raise ValueError(msg)
