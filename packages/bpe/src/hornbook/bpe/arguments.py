"""Arguments that training and encoding share: checked when given, with the way out in the message."""

import operator
import os
from pathlib import Path
from typing import SupportsIndex


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


def check_num_processes(num_processes: int | None) -> int:
    """Return the number of processes to use; None means one for each processor this process may run on."""
    if num_processes is not None:
        return check_count("num_processes", num_processes, 1)
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or taskset may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
