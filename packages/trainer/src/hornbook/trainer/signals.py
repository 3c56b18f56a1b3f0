"""Ctrl-C, SIGTERM and SIGUSR1 as a wish that the loop grants at its next step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Whether a signal has asked the run to stop, and which."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count; 0 if none came.

        130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1 on Linux.
        """
        return 0 if self.signal is None else 128 + self.signal


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGUSR1 into a request, so that the run can save; the next one acts.

    SIGUSR1 is how batch systems warn of the end of a job's time (Slurm's `--signal=USR1@120`). Outside the
    main thread, where Python delivers no signals, nothing is changed.

    Example:
        >>> with stop_on_signals() as stop:
        ...     signal.raise_signal(signal.SIGINT)
        ...     stop.signal.name, stop.exit_code
        ('SIGINT', 130)
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        numbers.append(signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, _frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for known, handler in before.items():  # the second one is not asked for twice
            signal.signal(known, _acting(known) if handler is signal.SIG_IGN else handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _acting(number: int) -> Callable[[int, FrameType | None], Any] | signal.Handlers:
    """What a signal does by default: scripts start programs in the background with SIGINT ignored."""
    return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
