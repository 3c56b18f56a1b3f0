"""Files that are there whole or not at all: written under another name, synced, renamed."""

import os
import re
from pathlib import Path
from typing import Self


class AsideFile:
    """A file under a hidden name, which goes away unless it is published; for a `with` statement."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # The random part keeps threads apart, the process id tells whose it was.
        self._aside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        self._file = self._aside.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()  # writes what is left in its buffer, for which there may be no room
        finally:
            self._aside.unlink(missing_ok=True)

    def write(self, data: bytes | memoryview) -> None:
        """Write more."""
        self._file.write(data)

    def sync(self) -> None:
        """Wait until what was written is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Give the file its name."""
        self._file.close()  # Windows renames no open file
        self._aside.replace(self.path)


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left of an earlier try at this file."""
    for aside in path.parent.glob(f".{_literal(path.name)}.*.part"):
        match = re.fullmatch(r"[0-9a-f]{8}\.(\d+)\.part", aside.name[len(path.name) + 2 :])
        if match is not None and not _is_running(int(match[1])):
            aside.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Wait until the names in a directory are on disk."""
    if os.name != "posix":
        return  # Windows cannot open directories, and needs no such call
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _is_running(process_id: int) -> bool:
    if os.name != "posix":  # there, asking a process with a signal would end it
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and is another user's
        return True
    return True
