"""One process a directory: a lock that the system frees however its holder ends."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .background_save import when_written
from .files import named_when_full

_LOCK = ".lock"
_HELD = 2**20  # the byte that Windows locks, far behind the text, since nobody can read a locked one there


class RunDirectoryError(ValueError):
    """The directory can't be used for this run; the message says why and what else to do."""


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a directory for the block; `.lock` in it says who does.

    It is the system's lock on the open file (flock; on Windows a locked byte) that counts, and not that the
    file is there: after kill -9 it is free, and nothing has to be cleaned up.

    A checkpoint that is still being written when the block ends, as after a second Ctrl-C, holds it too.

    Raises:
        RunDirectoryError: If another process holds it, at once, naming the process.
    """
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, directory)
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        raw = f"process {os.getpid()} on {platform.node()}, since {began}\n".encode()
        with named_when_full(directory / _LOCK, len(raw)):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, raw)
        yield
    finally:
        when_written(partial(os.close, descriptor))


def check_not_held(directory: Path) -> None:
    """Refuse a directory that another process holds, before much is done that would be for nothing.

    Raises:
        RunDirectoryError: Naming the process.
    """
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR)
    except OSError:  # there is none; or it can't be opened, which is told when it must be
        return
    try:
        _take(descriptor, directory)
    finally:
        os.close(descriptor)  # and it is free again


def _take(descriptor: int, directory: Path) -> None:
    try:
        _lock(descriptor)
    except OSError as error:
        if not isinstance(error, BlockingIOError | PermissionError):
            raise
        holder = os.pread(descriptor, 200, 0) if hasattr(os, "pread") else os.read(descriptor, 200)
        who = holder.decode(errors="replace").strip() or "another process"
        msg = f"{directory} is in use by {who}: wait for it, or choose another --out"
        raise RunDirectoryError(msg) from None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _HELD, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_lock(path: Path) -> bool:
    """Tell whether this is the file of a lock."""
    return path.name == _LOCK
