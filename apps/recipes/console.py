"""What a person sees while a run goes on: bars in a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hornbook.accounting import format_flops

if TYPE_CHECKING:
    from hornbook.trainer import Evaluation, LoopConfig, Row


class _Console(Console):
    """Goes silent when nobody reads any more (`| head`), so that the run goes on."""

    def on_broken_pipe(self) -> None:
        """Send what may still be said nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# Of many processes (torchrun) the first one speaks.
_RANK = os.environ.get("RANK", "0")
# highlight=False: numbers are read, not decorated; soft_wrap: a line stays one line, for grep and for errors.
console = _Console(highlight=False, soft_wrap=True, quiet=_RANK != "0")
_LINE_EVERY_SECONDS = 10.0


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a line, taking no character of it for markup."""
    console.print(text, markup=False, end=end)


def printable(text: str) -> str:
    r"""Return generated text as a terminal may have it: control characters could move the cursor or worse.

    Example:
        >>> ascii(printable("one\n\x1b[2Jtwo"))
        "'one\\n\\ufffd[2Jtwo'"
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


@contextmanager
def one_voice() -> Iterator[None]:
    """Let the first of many processes alone print what all would print alike."""
    with open(os.devnull, "w") as nowhere, ExitStack() as stack:  # noqa: PTH123, a device
        if _RANK != "0":
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def complain(text: str) -> None:
    """Print a line to standard error."""
    text = text if _RANK == "0" else f"process {_RANK}: {text}"
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show stages (name, done, total) of the tokenizer's work, one bar or line each.

    Yields:
        The function to call with each stage's progress.
    """
    names = {
        "count": "counting pretokens",
        "merge": "training the tokenizer",
        "encode": "encoding",
    }
    if not console.is_terminal:
        said: set[str] = set()

        def once(stage: str, done: int, total: int | None) -> None:  # noqa: ARG001
            if stage not in said:
                said.add(stage)
                say(f"{names.get(stage, stage)} …")

        yield once
        return
    with Progress(*_columns(), console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(names.get(stage, stage), total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield show


@contextmanager
def file_progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show the bytes of one file as they come.

    Yields:
        The function to call with (bytes done, bytes in all or None).
    """
    if not console.is_terminal:
        say(f"{title} …")
        yield lambda done, total: None  # noqa: ARG005
        return
    with Progress(*_columns(), DownloadColumn(), console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class ConsoleSink:
    """The run's live bar: loss, tokens and FLOPs a second, MFU, time left; a line for each evaluation.

    Args:
        config: Its limits, of which the bar shows the nearest.
    """

    def __init__(self, config: "LoopConfig") -> None:
        self._config = config
        self._of = "" if config.num_steps is None else f" of {config.num_steps:,}"
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._said = time.monotonic()
        self._began: tuple[float, float] | None = None  # when, and at which share, the first row came

    def start(self, step: int) -> None:
        """Say where the run stands and put up the bar."""
        if step:
            say(f"going on from the checkpoint at step {step:,}{self._of}")
        if console.is_terminal:
            self._progress = Progress(*_columns(), TextColumn("{task.fields[numbers]}"), console=console)
            self._task = self._progress.add_task("training", total=1.0, numbers="")
            self._progress.start()

    def log(self, row: "Row") -> None:
        """Move the bar; without a terminal, print a line every ten seconds."""
        numbers = f"loss {row.train_loss:.3f}  {row.tokens_per_second:,.0f} tokens/s"
        if row.flops_per_second is not None:
            numbers += f"  {format_flops(row.flops_per_second)}/s"
        if row.mfu is not None:
            numbers += f"  MFU {row.mfu:.1%}"
        past = self._config.fraction(step=row.step, tokens=row.tokens_processed, seconds=row.wallclock_time)
        if self._progress is not None:
            self._progress.update(self._task, completed=past, numbers=numbers)
        elif time.monotonic() - self._said > _LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            left = "" if self._began is None else f"  {self._seconds_left(past):.0f} s left"
            say(f"step {row.step:,}{self._of}  {numbers}{left}")
        if self._began is None:  # the first step has compiled and read the data: it is no measure of the rest
            self._began = (time.monotonic(), past)

    def evaluated(self, step: int, evaluation: "Evaluation") -> None:
        """Print the loss on the held-out text, and on how much of it."""
        self._said = time.monotonic()
        say(
            f"step {step:,}: validation loss {evaluation.loss:.3f}, "
            f"{evaluation.bits_per_byte:.3f} bits per byte "
            f"({evaluation.num_windows:,} of {evaluation.num_windows_in_all:,} windows)"
        )

    def close(self) -> None:
        """Take the bar down."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _seconds_left(self, past: float) -> float:
        began, first = self._began or (time.monotonic(), past)
        return (time.monotonic() - began) / max(1e-9, past - first) * (1 - past)


def _columns() -> tuple[TextColumn, BarColumn, TextColumn, TimeRemainingColumn]:
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
