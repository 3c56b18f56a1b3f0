"""Run a task in a process of its own: nothing cached, nothing imported, and its own peak of memory."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """What a task took."""

    wall: float  # seconds, of the call alone
    cpu: float  # seconds, of all threads
    peak_bytes: int  # resident memory of the whole process
    answer: Any  # what the task returned, to compare


def fresh(task: str, *arguments: object, num_threads: int = 1) -> Measured:
    """Run `tasks.TASK(*arguments)` in a new process.

    Args:
        task: Name of a function of tasks.py.
        arguments: Numbers and strings; a path counts as a string.
        num_threads: For the peers, which are told by the environment.
    """
    environment = os.environ | {
        "RAYON_NUM_THREADS": str(num_threads),
        "TOKENIZERS_PARALLELISM": str(num_threads > 1).lower(),
        # Nobody here multiplies matrices, but numpy's BLAS has threads that spin for a while after the start.
        "OPENBLAS_NUM_THREADS": "1",
    }
    # Else what is imported during the call would be compiled and counted each time.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        answer = Path(name) / "answer.json"
        script = str(Path(__file__).with_name("tasks.py"))
        command = [
            sys.executable,
            script,
            str(answer),
            task,
            *(json.dumps(a, default=str) for a in arguments),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{task}{arguments} failed ({done.returncode}):\n{done.stderr[-2000:]}")
        return Measured(**json.loads(answer.read_text(encoding="utf-8")))


def measure(work: Callable[[], Any]) -> Measured:
    """Time one call in this process."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    answer = work()
    return Measured(time.perf_counter() - wall, _cpu_seconds() - cpu, _peak_bytes(), answer)


def answer_in_file(tasks: dict[str, Callable[..., Any]]) -> None:
    """Do what `fresh` asked for on the command line. The answer goes to a file: peers print as they like."""
    path, task, *arguments = sys.argv[1:]
    measured = tasks[task](*map(json.loads, arguments))
    Path(path).write_text(json.dumps(asdict(measured)), encoding="utf-8")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_bytes() -> int:
    # ru_maxrss begins with what the parent had at the time of the fork: VmHWM is this program's own.
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
