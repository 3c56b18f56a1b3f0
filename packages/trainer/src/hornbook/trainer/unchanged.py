"""The SHA-256 of a large file without reading it again while it is as it was.

Beside the file stands `.<name>.sha256.json`: the digest, and what the file was like when it was read: size,
times of the last change to content and to anything, number on its disk, and the digest of 64 samples. Whoever
writes to the file changes the times, and can't set the second one back; samples are for disks that forget by
themselves. A file so young that the clock might not tell its next change is read again the next time.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .files import atomic_file
from .strict_json import parse_object

_VERSION = 1
_NUM_SAMPLES, _SAMPLE_BYTES = 64, 2**16
_CHUNK_BYTES = 2**20
# Clocks of file systems are as coarse as this (FAT: two seconds).
_COARSENESS_NS = 3 * 10**9


def known_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read anew only if it may have changed since it was last read.

    Raises:
        OSError: If it can't be read. If nothing can be written beside it, it is read each time.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "text"
        >>> _ = path.write_bytes(b"abc")
        >>> known_sha256(path)[:8]
        'ba7816bf'
    """
    record = path.with_name(f".{path.name}.sha256.json")
    with path.open("rb", buffering=0) as file:
        before = _looks(file.fileno()) | {"samples": _samples(file.fileno())}
        with suppress(OSError, ValueError, KeyError):
            known = parse_object(record.read_bytes())
            if {name: value for name, value in known.items() if name != "sha256"} == before:
                return str(known["sha256"])
        began = time.time_ns()
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
        after = _looks(file.fileno()) | {"samples": before["samples"]}
    if before == after and max(before["changed_ns"], before["written_ns"]) < began - _COARSENESS_NS:
        with suppress(OSError), atomic_file(record) as out:
            out.write(json.dumps(before | {"sha256": digest.hexdigest()}, indent=1).encode())
    return digest.hexdigest()


def _looks(descriptor: int) -> dict[str, Any]:
    status = os.fstat(descriptor)
    return {
        "version": _VERSION,
        "bytes": status.st_size,
        "written_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
        "number": status.st_ino,
    }


def _samples(descriptor: int) -> str:
    """The digest of some of its bytes, spread over all of it: a few milliseconds, however large it is."""
    size = os.fstat(descriptor).st_size
    digest = hashlib.sha256()
    for number in range(_NUM_SAMPLES):
        os.lseek(descriptor, max(0, (size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1)), os.SEEK_SET)
        digest.update(os.read(descriptor, _SAMPLE_BYTES))
        if size <= _SAMPLE_BYTES:
            break
    os.lseek(descriptor, 0, os.SEEK_SET)
    return digest.hexdigest()
