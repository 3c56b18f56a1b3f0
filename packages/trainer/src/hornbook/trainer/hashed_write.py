"""Files written and hashed at once: the SHA-256 is that of what was meant, and costs no second reading."""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Buffer = bytes | memoryview
_CHUNK_BYTES = 2**22


class FileRecord(NamedTuple):
    """What a file must be to be the one that was written."""

    num_bytes: int
    sha256: str


def write_hashed(files: Mapping[Path, Sequence[Buffer]]) -> dict[Path, FileRecord]:
    """Write new files, one after another, and sync each; all are hashed meanwhile, by a thread a file.

    The buffers must not change until it returns.

    Raises:
        OSError: If one can't be written; those before it stay.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "greeting"
        >>> write_hashed({path: [b"hel", b"lo"]})[path].num_bytes, path.read_bytes()
        (5, b'hello')
    """
    hashes = {path: _Hash(buffers) for path, buffers in files.items()}
    try:
        for path, buffers in files.items():
            _write(path, buffers)
    except BaseException:
        for thread in hashes.values():
            thread.cancelled = True
        raise
    finally:
        for thread in hashes.values():
            thread.join()
    return {
        path: FileRecord(sum(len(memoryview(buffer)) for buffer in buffers), hashes[path].digest.hexdigest())
        for path, buffers in files.items()
    }


class _Hash(threading.Thread):
    """Hashes buffers beside the thread that writes them; Python's lock is free meanwhile in both."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        super().__init__(name="hornbook-sha256")
        self.digest = hashlib.sha256()
        self.cancelled = False
        self._buffers = buffers
        self.start()

    def run(self) -> None:
        """Hash them all, unless it is no longer wanted."""
        for buffer in self._buffers:
            view = memoryview(buffer)
            for begin in range(0, len(view), _CHUNK_BYTES):
                if self.cancelled:
                    return
                self.digest.update(view[begin : begin + _CHUNK_BYTES])


def _write(path: Path, buffers: Sequence[Buffer]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                view = view[os.write(descriptor, view[:_CHUNK_BYTES]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
