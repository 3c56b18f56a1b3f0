"""A file that grows by lines, each handed to the system at once: a killed process loses none."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from .files import atomic_file, named_when_full

Line = TypeVar("Line")


def whole_lines(path: Path) -> list[str]:
    """Return the lines of such a file, without their ends and without a last one that was cut by a kill."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"{path} is not the text that was written: {error}; mend it, or move it away"
        raise ValueError(msg) from error
    return text[: text.rfind("\n") + 1].splitlines()


def up_to(step: int, lines: Iterable[Line], step_of: Callable[[Line], int], path: Path) -> list[Line]:
    """Return the lines of a log that are of steps up to this one.

    Raises:
        ValueError: If a line tells no step, as after an edit by hand; file and line are named.
    """
    kept = []
    for line in lines:
        try:
            if step_of(line) <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path} has a line that tells no step, {str(line)[:100]!r}: mend it, or move the file away"
            raise ValueError(msg) from error
    return kept


class AppendedFile:
    """Begins anew with the lines to keep, then takes more.

    A kill can leave half a line at the end: `whole_lines` leaves it out.

    Args:
        path: The file.
        kept: Its first lines, without their ends.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lines"
        >>> file = AppendedFile(path, ["one"])
        >>> file.append("two")
        >>> file.close()
        >>> path.read_text().split()
        ['one', 'two']
    """

    def __init__(self, path: Path, kept: Iterable[str]) -> None:
        self._path = path
        with atomic_file(path) as file:
            file.writelines(f"{line}\n".encode() for line in kept)
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags)

    def append(self, line: str) -> None:
        """Write one more line.

        Raises:
            OSError: If the disk is full; the message names the file and the bytes needed.
        """
        raw = f"{line}\n".encode()
        with named_when_full(self._path, self._path.stat().st_size + len(raw)):
            while raw:
                raw = raw[os.write(self._descriptor, raw) :]

    def close(self) -> None:
        """Wait until all of it is on the disk."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
