"""Arguments that training and encoding share: checked when given, with the way out in the message."""

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

TIE_BREAKS = ("greatest bytes", "smallest ids")
"""Which of several equally frequent pairs is merged first; the compiled core knows them by their number."""


def check_file(path: str | os.PathLike[str]) -> Path:
    """Return `path` as an absolute Path to a regular file.

    Raises:
        TypeError: If it is not a path.
        FileNotFoundError: If nothing is there.
        ValueError: If it is no regular file; the work reads it twice, so a pipe will not do.
    """
    if not isinstance(path, str | os.PathLike):
        msg = f"a path must be a str or an os.PathLike, got {type(path).__name__}"
        raise TypeError(msg)
    file = Path(path)
    if not file.exists():
        msg = f"there is no file {file} (looked from {Path.cwd()})"
        raise FileNotFoundError(msg)
    if not file.is_file():
        msg = f"{file} is not a regular file; write the text into one first"
        raise ValueError(msg)
    return file.absolute()


def check_count(name: str, value: SupportsIndex, minimum: int) -> int:
    """Return `value` as an int that is at least `minimum`.

    Raises:
        TypeError: If it is not an integer (True and 3.0 are not).
        ValueError: If it is smaller than `minimum`.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        msg = f"{name} must be an integer, got {value!r}"
        raise TypeError(msg)
    number = operator.index(value)
    if number < minimum:
        msg = f"{name} must be at least {minimum}, got {number}"
        raise ValueError(msg)
    return number


def check_num_threads(num_threads: SupportsIndex | None) -> int:
    """Return the number of threads to use; None means one for each processor this process may run on.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is smaller than 1.
    """
    if num_threads is not None:
        return check_count("num_threads", num_threads, 1)
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or taskset may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        ValueError: If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
        raise ValueError(msg)
    return value
