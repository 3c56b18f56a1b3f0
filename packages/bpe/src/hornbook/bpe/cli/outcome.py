"""How a command ends: what goes wrong is one line and an exit code."""

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

from .terminal import flush, say

WRONG_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT  # as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE, which Windows lacks


def exit_code_of(program: Callable[[], None]) -> int:
    """Run a program and turn what its user can mend into one line on standard error.

    Returns:
        0; 2 on wrong input or a disk that can't be written; 130 after Ctrl-C, 143 after SIGTERM; 141, in
        silence, if nobody reads the output any more (`| head`); what argparse asks for after `--help`.
    """
    logging.basicConfig(handlers=[_SayingHandler()], level=logging.WARNING)
    try:
        with _sigterm_as_exit(), _warnings_in_one_line():
            program()
            flush()  # here: a full disk or a closed pipe is often noticed only now
    except SystemExit as stop:
        return _to_code(stop.code)
    except KeyboardInterrupt:
        return _end(INTERRUPTED, "interrupted; nothing half written is left")
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except MemoryError:
        return _end(WRONG_INPUT, "error: out of memory; give a smaller input or fewer threads")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _end(WRONG_INPUT, f"error: {where}{error.strerror or error}")
    except (ValueError, ImportError) as error:  # ImportError: a package for .zst is missing
        return _end(WRONG_INPUT, f"error: {error}")
    return 0


class _SayingHandler(logging.Handler):
    """What the package logs, as one line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(f"warning: {record.getMessage()}")


def _end(code: int, line: str) -> int:
    # What was printed before belongs before the complaint; if it can't be, the complaint still counts.
    with contextlib.suppress(OSError):
        flush()
    say(line)
    return code


def _to_code(code: object) -> int:
    return code if isinstance(code, int) else 0 if code is None else 1


def _silence_stdout() -> None:
    """Send what Python would still flush at its end nowhere."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, AttributeError, ValueError):
        return  # no real file, as in tests
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Python's own form of a warning names a line of code, which tells a user nothing."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_keywords: say(f"warning: {message}")
        yield


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Python dies of SIGTERM where it stands; as an exception it lets go of half-written files first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
