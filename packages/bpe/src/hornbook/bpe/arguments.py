"""Arguments that training and encoding share: checked when given, with the way out in the message."""

import operator
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import SupportsIndex, TypeVar

_Item = TypeVar("_Item")

TIE_BREAKS = ("greatest bytes", "smallest ids")
"""Which of several equally frequent pairs is merged first; the compiled core knows them by their number."""


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` as a Path.

    Raises:
        TypeError: If it is no path of text: bytes, for instance, or a file's number.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        msg = f"a path must be a str or an os.PathLike of one, got {path!r:.80}"
        raise TypeError(msg)
    return Path(path)


def check_file(path: str | os.PathLike[str]) -> Path:
    """Return `path` as an absolute Path to a regular file.

    Raises:
        TypeError: If it is not a path.
        FileNotFoundError: If nothing is there.
        ValueError: If it is no regular file; the work reads it twice, so a pipe will not do.
    """
    file = check_path(path)
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
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:  # an array has an __index__, too
        number = None
    if number is None:
        msg = f"{name} must be an integer, got {value!r}"
        raise TypeError(msg)
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


def check_iterable(name: str, items: Iterable[_Item], what: str) -> Iterable[_Item]:
    """Return `items`, which must be an iterable of `what`.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(items, Iterable):
        msg = f"{name} must be an iterable of {what}, got {items!r:.80}"
        raise TypeError(msg)
    return items


def check_progress(progress: Callable[..., None] | None) -> None:
    """Refuse what can't be called, before the work begins.

    Raises:
        TypeError: If it is neither None nor a function.
    """
    if progress is not None and not callable(progress):
        msg = f"progress must be a function of stage, done and total, or None; got {progress!r:.80}"
        raise TypeError(msg)


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        ValueError: If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
        raise ValueError(msg)
    return value
