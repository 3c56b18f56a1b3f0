"""torchrun, as the shell starts it."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import train_ts
from hornbook.trainer import check_not_held
from tiny import arguments, train, write_texts


@contextmanager
def started(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes of the training app; what they say can be read, and is read to the end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", train_ts.__file__, *words]
    with (
        (directory / "errors").open("a") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        yield process


def curve(run: Path) -> dict[int, float]:
    """The loss of each step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row["train_loss"]) for row in csv.DictReader(file)}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("fault", ["SIGTERM to all", pytest.param("SIGKILL to one", marks=pytest.mark.e2e)])
def test_two_processes_that_are_ended_leave_a_run_that_one_takes_to_the_losses_of_one(
    tmp_path: Path, fault: str
) -> None:
    texts = write_texts(tmp_path)
    more = ("--num-steps=80", "--eval-interval-steps=4", "--checkpoint-interval-steps=3", "--parallel=fsdp")
    words = arguments(tmp_path, *texts, *more)
    with started(tmp_path, *words) as process:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("step 8:"):  # behind the save of step 6, which waited for that of step 3
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                if fault == "SIGTERM to all":
                    process.send_signal(signal.SIGTERM)  # torchrun hands it on
                else:
                    os.kill(int(children[-1]), signal.SIGKILL)
    assert process.returncode == 1  # torchrun's own, when all have ended
    assert said.count("processes: 2, fsdp, 1 windows a step each\n") == 1  # one speaks
    saved = int((tmp_path / "run" / "checkpoints" / "latest").read_text().removeprefix("step-"))
    assert 3 <= saved < 80
    if fault == "SIGTERM to all":
        assert said[-1] == "to go on, give the same command again\n"
        assert saved == max(curve(tmp_path / "run"))  # both have stopped behind one step

    assert train(*words[:-1]) == 0
    assert train(*arguments(tmp_path, *texts, *more[:-1], f"--out={tmp_path / 'alone'}")) == 0
    assert curve(tmp_path / "run") == pytest.approx(curve(tmp_path / "alone"), rel=0, abs=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_processes_end_when_torchrun_is_killed_and_leave_the_run_to_the_next(tmp_path: Path) -> None:
    texts = write_texts(tmp_path)
    more = ("--num-steps=4000", "--eval-interval-steps=4", "--checkpoint-interval-steps=3", "--parallel=fsdp")
    words = arguments(tmp_path, *texts, *more)
    with started(tmp_path, *words) as process:
        assert process.stdout
        for line in process.stdout:  # ends when all that could write into it are gone
            if line.startswith("step 4:"):
                process.kill()
    check_not_held(tmp_path / "run")
    assert 3 <= max(curve(tmp_path / "run")) < 4000
