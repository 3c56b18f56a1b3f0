"""What the children of the fork server do: each says what went wrong, and returns its exit code."""

import logging
import math
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from faults import points
from hornbook.trainer import (
    BadStep,
    BadStepFile,
    Checkpoints,
    CsvSink,
    Evaluation,
    Row,
    Sink,
    load_checkpoint,
    run_directory,
    write_token_file,
)
from hornbook.trainer.background_save import saves_on_their_way
from hornbook.trainer.checkpoint_directory import restore_checkpoint
from tiny_run import Bigram, adamw, run_in

CONFIGURATION = {"model": "bigram"}
NUM_STEPS, INTERVAL = 24, 4


def train(
    directory: str,
    asynchronous: bool = False,
    kill: dict[str, Any] | None = None,
    most_file_bytes: int | None = None,
    full_at: int | None = None,
    interval: int = INTERVAL,
) -> int:
    """Train to the end, from the newest checkpoint; with a kill at a point of a save, or files kept small.

    These from the start, or only while the checkpoint of step `full_at` is written.
    """
    out = Path(directory)
    logging.basicConfig(level=logging.WARNING)
    if kill is not None:
        points.kill_at(**kill)
    try:
        with run_directory(out, CONFIGURATION, about={}):
            sinks: list[Sink] = [CsvSink(out / "metrics.csv")]
            if most_file_bytes is not None and full_at is not None:
                sinks.append(FullFor(full_at, most_file_bytes))
            elif most_file_bytes is not None:
                limit_files(most_file_bytes)
            run_in(
                out,
                num_steps=NUM_STEPS,
                checkpoint_interval_steps=interval,
                checkpoints=Checkpoints(out / "checkpoints", asynchronous=asynchronous, run=CONFIGURATION),
                sinks=sinks,
            )
    except (OSError, ValueError) as error:
        say(error)
        return 2
    return 0


class FullFor:
    """A disk that is full while the checkpoint of one step is written."""

    def __init__(self, step: int, most_file_bytes: int) -> None:
        self.step = step
        self.most_file_bytes = most_file_bytes

    def start(self, step: int) -> None: ...

    def log(self, row: Row) -> None:
        if row.step not in (self.step, self.step + 1):  # a row comes before its checkpoint
            return
        for thread in saves_on_their_way():
            thread.join()
        if row.step == self.step:
            limit_files(self.most_file_bytes)
        else:
            free_files()

    def evaluated(self, step: int, evaluation: Evaluation) -> None: ...

    def close(self) -> None: ...


def hold(directory: str) -> int:
    """Hold a run's directory until killed."""
    with run_directory(Path(directory), CONFIGURATION, about={}):
        print("held", flush=True)
        time.sleep(600)
    return 0


def encode(path: str, most_file_bytes: int) -> int:
    """Write a token file of 200,000 bytes where files can't be as large."""
    limit_files(most_file_bytes)
    try:
        chunks = (np.arange(1000) for _ in range(100))
        write_token_file(path, chunks, vocab_size=1000, tokenizer="t", text="x")
    except OSError as error:
        say(error)
        return 2
    return 0


def record_bad_step(path: str, step: int, most_file_bytes: int) -> int:
    """Write down an update that was left out where files can't be as large as its line."""
    limit_files(most_file_bytes)
    try:
        record = BadStepFile(path, lambda step: np.arange(100))
        record(BadStep(step=step, micro_losses=[math.nan], micro_batch_size=4, grad_norm=math.nan, lr=0.1))
    except OSError as error:
        say(error)
        return 2
    return 0


def load(path: str, most_bytes: int) -> int:
    """Load what somebody hostile wrote, with so much memory to spare, and say what it took."""
    target = Path(path)
    model = Bigram()
    optimizer = adamw(model)
    with Path("/proc/self/status").open() as file:
        status = dict(line.split(":", 1) for line in file)
    size, resident = (int(status[key].split()[0]) * 1024 for key in ("VmSize", "VmRSS"))
    resource.setrlimit(resource.RLIMIT_AS, (size + most_bytes,) * 2)
    began = time.perf_counter()
    try:
        if target.name == "checkpoints":
            Checkpoints(target).restore(model, optimizer)
        elif target.is_dir():
            restore_checkpoint(target, model, optimizer)
        else:
            load_checkpoint(target, model, optimizer)
        code = 0
    except ValueError as error:
        print(f"{type(error).__name__}: {str(error)[:500]}")
        code = 2
    seconds = time.perf_counter() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
    print(f"seconds {seconds:.3f} megabytes {max(0, grown) / 1e6:.1f}")
    return code


def say(error: Exception) -> None:
    """One line, as the apps write it, for which there is room."""
    free_files()
    print(f"error: {getattr(error, 'strerror', None) or error}")


def free_files() -> None:
    """Let files be as large as before."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def limit_files(num_bytes: int) -> None:
    """Let no file become larger: the nearest to a full disk that needs no rights."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
