"""What goes wrong for a user, as one line and an exit code."""

import io
import logging
import os
import signal
import sys
from collections.abc import Callable

from hornbook import trainer

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
    # What needs no torch first: the names of the others would import it, for a wrong flag too.
    try:
        return program()
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
    except ArithmeticError as error:
        if not isinstance(error, trainer.DivergedError):
            raise
        with one_voice():  # all have
            complain(f"diverged: {error}. Try a lower --max-lr; the curve so far is in the run's metrics.csv")
        return DIVERGED
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, trainer.OtherRankError):
            return OTHER_PROCESS
        if not _is_out_of_memory(error):
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]  # Python's own says nothing
        complain(f"error: out of memory ({why}); give a smaller --batch-size or model")
        return WRONG_INPUT


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    # numpy's, a GPU's; and on the CPU a plain RuntimeError of torch that only its text tells apart.
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)
