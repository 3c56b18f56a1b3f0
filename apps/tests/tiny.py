"""A run of seconds, for the tests: a small model on the generated stories."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import train_ts
from recipes.flags import parse_train_flags
from recipes.run import run
from recipes.stories import write_stories
from recipes.wrong_input import exit_code_of

SMALL = """
    --preset=demo --device=cpu --no-compile
    --vocab-size=300 --context-length=16 --num-layers=1 --d-model=16 --num-heads=2 --d-ff=32
    --batch-size=2 --num-steps=12 --warmup-steps=2
    --eval-interval-steps=4 --checkpoint-interval-steps=5 --eval-windows=4 --final-eval-windows=8
""".split()  # noqa: SIM905


def write_texts(directory: Path) -> tuple[Path, Path]:
    """Write a small training text and a small held-out text."""
    train, valid = directory / "train.txt", directory / "valid.txt"
    write_stories(train, num_bytes=60_000, seed=0, split="train")
    write_stories(valid, num_bytes=20_000, seed=0, split="valid")
    return train, valid


def arguments(directory: Path, train: Path, valid: Path, *more: str) -> list[str]:
    """The command line of a small run that keeps everything in one directory."""
    return [
        *SMALL,
        f"--train-text={train}",
        f"--valid-text={valid}",
        f"--data-dir={directory / 'data'}",
        f"--out={directory / 'run'}",
        *more,
    ]


def train(*words: str) -> int:
    """Call the training app as the shell does, but in this process."""
    return exit_code_of(lambda: run(parse_train_flags(train_ts.__doc__ or "", list(words))))


def run_app(
    *words: str, cwd: Path | None = None, interrupt_at: str | None = None, all_threads: bool = False
) -> tuple[int, list[str]]:
    """Call the training app as the shell does; press Ctrl-C when a line begins with `interrupt_at`.

    Returns:
        The exit code and the lines it said.
    """
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    if all_threads:
        environment.pop("OMP_NUM_THREADS", None)  # the tests of small models set it
    with subprocess.Popen(
        [sys.executable, train_ts.__file__, *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if interrupt_at and line.startswith(interrupt_at):
                process.send_signal(signal.SIGINT)
    return process.returncode, said
