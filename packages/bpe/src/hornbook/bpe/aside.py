"""Files that are there whole or not at all: written under another name, synced, renamed."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_SENT_AT_ONCE = 1 << 22
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full_disk(error: BaseException | None) -> bool:
    """Whether there was no room for what was written."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def full_disk(path: Path, num_bytes: int) -> OSError:
    """What to raise instead.

    Args:
        path: What was to be written.
        num_bytes: How much there was no room for; 0 if that is unknown.
    """
    needed = f" (more than {num_bytes:,} bytes needed)" if num_bytes else ""
    msg = f"no room to write {path}{needed}: free some space, or choose another folder"
    return OSError(errno.ENOSPC, msg)


@contextmanager
def writing(path: Path, num_bytes: int = 0) -> Iterator[None]:
    """What the system says of a hidden file, or of none, is said of `path`; a full disk with what to do."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            raise full_disk(path, num_bytes) from error
        if error.errno is None:  # said in words of our own
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def hidden(path: Path) -> Path:
    """A new name beside `path`. Its random part keeps threads apart, the process id tells whose it was."""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.{os.getpid()}.part")


class AsideFile:
    """A file under a hidden name, which goes away unless it is published; for a `with` statement.

    Attributes:
        path: The name it gets.
        num_bytes: How many were to be written, so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._aside = hidden(path)
        self.num_bytes = self._num_sent = 0

    def __enter__(self) -> Self:
        with writing(self.path):
            self._file = self._aside.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()  # writes what is left in its buffer, for which there may be no room
        finally:
            self._aside.unlink(missing_ok=True)

    def write(self, data: bytes | memoryview) -> None:
        """Write more; what was written goes on its way to the disk, so that `sync` needn't wait long."""
        self.num_bytes += memoryview(data).nbytes  # first: who finds no room tells how much was wanted
        with writing(self.path, self.num_bytes):
            self._file.write(data)
            if self.num_bytes - self._num_sent >= _SENT_AT_ONCE and hasattr(os, "posix_fadvise"):
                self._file.flush()
                # Linux begins to write such pages out. To drop them, as the call is named, is too early.
                size = self.num_bytes - self._num_sent
                os.posix_fadvise(self._file.fileno(), self._num_sent, size, os.POSIX_FADV_DONTNEED)
                self._num_sent = self.num_bytes

    def sync(self) -> None:
        """Wait until what was written is on disk."""
        with writing(self.path, self.num_bytes):
            self._file.flush()
            os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Give the file its name."""
        with writing(self.path, self.num_bytes):
            self._file.close()  # Windows renames no open file
            self._aside.replace(self.path)


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left of an earlier try at this file or directory."""
    for aside in path.parent.glob(f".{_literal(path.name)}.*.part"):
        match = re.fullmatch(r"[0-9a-f]{8}\.(\d+)\.part", aside.name[len(path.name) + 2 :])
        if match is not None and not _is_running(int(match[1])):
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            else:
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
