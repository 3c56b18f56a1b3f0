"""What goes wrong for a user, as one line and an exit code."""

import io
import logging
import os
import signal
import sys
from collections.abc import Callable

import torch

from hornbook.trainer import DivergedError, OtherRankError

from .console import complain, one_voice

WRONG_INPUT = 2
DIVERGED = 3
INTERRUPTED = 130
OTHER_PROCESS = 1


def exit_code_of(program: Callable[[], int]) -> int:
    """Run a program and turn what its user can mend into one line on standard error.

    Args:
        program: Reads its command line and does its work.

    Returns:
        What the program returns; 2 on wrong input or a disk that is full or can't be written, 3 if the loss
        diverged, 130 after Ctrl-C; 1 if another process of the run has failed, which has said why.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or pipe that lacks a character gets a ?
            stream.reconfigure(errors="replace")
    is_main = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format="%(message)s", level=logging.WARNING if is_main else logging.ERROR)
    # Python dies of SIGTERM where it stands; as an exception it lets go of half-written files first.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        return program()
    except DivergedError as error:
        with one_voice():  # all have
            complain(f"diverged: {error}. Try a lower --max-lr; the curve so far is in the run's metrics.csv")
        return DIVERGED
    except OtherRankError:
        return OTHER_PROCESS
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"error: {where}{error.strerror or error}")
        return WRONG_INPUT
    except ValueError as error:
        complain(f"error: {error}")
        return WRONG_INPUT
    except (MemoryError, RuntimeError) as error:
        # numpy's, a GPU's; and on the CPU a plain RuntimeError of torch that only its text tells apart.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]  # Python's own says nothing
        complain(f"error: out of memory ({why}); give a smaller --batch-size or model")
        return WRONG_INPUT
