"""Files that are whole or absent, and JSON that is checked as it is read."""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@contextmanager
def written_aside(*paths: Path) -> Iterator[list[Path]]:
    """Yield hidden names; what is written there is synced and then takes the names `paths`, one by one.

    A reader sees the old content of a file or the new one, never a part; an error leaves the old ones.
    """
    aside = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    for path in paths:
        _remove_leftovers(path)
    try:
        yield aside
        for file in aside:
            _sync(file)
        for file, path in zip(aside, paths, strict=True):
            file.replace(path)
    finally:
        for file in aside:
            with suppress(OSError):  # the first error is the one to be told
                file.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a directory can't be opened, and needs no sync
        for directory in {path.parent for path in paths}:
            _sync(directory)


def _remove_leftovers(path: Path) -> None:
    """Remove what processes that are no more, as after a kill, have left aside of a file."""
    for file in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        pid = file.name.removesuffix(".part").rpartition(".")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with suppress(OSError):  # somebody else has removed it, or may alone
                file.unlink()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # elsewhere os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True


def write_json(path: Path, content: Json) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Json:
    """Read a JSON object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else, or a name twice: readers differ in which value they take.
    """
    if not path.is_file():
        msg = f"{path} is missing: give the directory of a saved model"
        raise FileNotFoundError(msg)
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not sound JSON: {error}"
        raise ValueError(msg) from None
    if not isinstance(content, dict):
        msg = f"{path} must hold a JSON object, got {type(content).__name__}"
        raise ValueError(msg)
    return content


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    content: Json = {}
    for name, value in pairs:
        if name in content:
            msg = f"{name!r} is given twice"
            raise ValueError(msg)
        content[name] = value
    return content


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
