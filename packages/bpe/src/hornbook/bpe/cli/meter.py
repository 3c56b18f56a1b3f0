"""How far the work is: one line that renews itself in a terminal, a line now and then elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from .terminal import is_terminal
from .units import duration, num_bytes, rate

_TITLES = {"count": "counting pretokens", "merge": "learning merges", "encode": "encoding"}
_STAGES_IN_BYTES = ("count", "encode")
_LIVE_EVERY_SECONDS, _LOG_EVERY_SECONDS = 0.1, 10.0


class Meter:
    """A `Progress` that shows itself on standard error and keeps how long each stage took.

    A stage begins where the one before ended: the first report of it comes when some of it is done.

    Args:
        quiet: Show nothing; keep the times all the same.
        stream: Where to show; by default standard error.
        clock: Seconds since some moment.

    Example:
        >>> ticks = iter([0.0, 15.0, 16.0, 30.0])
        >>> with Meter(stream=sys.stdout, clock=lambda: next(ticks)) as meter:
        ...     for done in (50, 60, 100):
        ...         meter("merge", done, 400)
        learning merges: 12%, 50 of 400, 1 min 45 s left
        learning merges: 25%, 100 of 400, 1 min 30 s left
        >>> meter.seconds, meter.done
        ({'merge': 30.0}, {'merge': 100})
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.done: dict[str, int] = {}
        self._stream = None if quiet else stream or sys.stderr
        self._clock = clock
        self._live = is_terminal(self._stream)
        self._width = 0  # of the line that stands there now
        self._began = self._now = self._shown = clock()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take a report, and show it if the last one shown is old enough."""
        if stage not in self.seconds:
            self._began = self._now
        self._now = self._clock()
        self.seconds[stage] = self._now - self._began
        self.done[stage] = done
        every = _LIVE_EVERY_SECONDS if self._live else _LOG_EVERY_SECONDS
        if self._stream is not None and self._now - self._shown >= every:
            self._shown = self._now
            self._show(describe(stage, done, total, self.seconds[stage]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line down."""
        if self._width:
            self._show("")

    def _show(self, line: str) -> None:
        if self._stream is None:
            return
        if self._live:  # spaces, not an escape, wipe what was longer: any terminal knows them
            line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r{line:<{self._width}}" + ("" if line else "\r"))
            self._width = len(line)
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()


def describe(stage: str, done: int, total: int | None, seconds: float) -> str:
    """How far a stage is, how fast, and how long the rest takes at that speed.

    Example:
        >>> describe("count", 5_000_000, None, 2.0)
        'counting pretokens: 5.0 MB, 2.50 MB/s'
        >>> describe("encode", 5_000_000, 20_000_000, 2.0)
        'encoding: 25%, 5.0 MB of 20.0 MB, 2.50 MB/s, 6.00 s left'
    """
    in_bytes = stage in _STAGES_IN_BYTES
    size = num_bytes if in_bytes else "{:,}".format
    parts = [size(done) if total is None else f"{size(done)} of {size(total)}"]
    if total:
        parts.insert(0, f"{done / total:.0%}")
    if in_bytes and seconds > 0:
        parts.append(rate(done, seconds))
    if total and done:
        parts.append(f"{duration(seconds * max(0, total - done) / done)} left")
    return f"{_TITLES.get(stage, stage)}: {', '.join(parts)}"
