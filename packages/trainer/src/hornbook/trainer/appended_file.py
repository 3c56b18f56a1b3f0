"""A file that grows by lines, each handed to the system at once: a killed process loses none."""

import os
from collections.abc import Iterable
from pathlib import Path

from .files import atomic_file, named_when_full


def whole_lines(path: Path) -> list[str]:
    """Return the lines of such a file, without their ends and without a last one that was cut by a kill."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


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
