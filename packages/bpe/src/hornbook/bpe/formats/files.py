"""What the formats share: JSON that is checked, and files that are written whole or not at all."""

import json
import os
import reprlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..aside import hidden, remove_leftovers, sync_directory, writing

# A foreign value in an error message: cut short, however deep or long it is.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80
show = _short.repr


@contextmanager
def naming(*paths: Path) -> Iterator[None]:
    """Put the files' names before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        msg = f"{' and '.join(map(str, paths))}: {error}"
        raise ValueError(msg) from None


def read_text(path: Path) -> str:
    """The content of a file in UTF-8; a byte order mark is dropped, since no format here begins with one.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"is not UTF-8: {error.reason} at byte {error.start}"
        raise ValueError(msg) from None


def parse_json(text: str) -> dict[str, Any]:
    """The JSON object in `text`; a key given twice is refused, because readers differ in which they take.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        msg = f"is not sound JSON: {error}"
        raise ValueError(msg) from None
    except RecursionError:
        msg = "is not sound JSON: it is nested too deeply"
        raise ValueError(msg) from None
    if not isinstance(content, dict):
        msg = f"must hold a JSON object, got {type(content).__name__}"
        raise ValueError(msg)
    return content


def dump_json(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """The content of a JSON file."""
    return (json.dumps(content, ensure_ascii=False, indent=indent) + "\n").encode()


def check_id(name: str, value: object) -> int:
    """Return `value` if it can be a token id.

    Raises:
        ValueError: If it isn't an integer of 32 bits.
    """
    if type(value) is not int or not 0 <= value < 1 << 32:
        msg = f"the id of {show(name)} must be an integer from 0 to {(1 << 32) - 1}, got {show(value)}"
        raise ValueError(msg)
    return value


def check_text(name: str, value: object) -> str:
    """Return `value` if it is text that UTF-8 can express, and not empty.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(value, str) or not value:
        msg = f"{name} must be a string that isn't empty, got {show(value)}"
        raise ValueError(msg)
    try:
        value.encode()
    except UnicodeEncodeError:
        msg = f"{name} holds half a surrogate pair, which UTF-8 cannot express: {show(value)}"
        raise ValueError(msg) from None
    return value


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files: all aside and synced to disk, then renamed one after another.

    Files that are there already with the same content are left alone.

    Raises:
        FileExistsError: If one is there with another content; then nothing is written.
    """
    new = {path: content for path, content in contents.items() if not _is_file_with(path, content)}
    for path in new:
        if path.exists():
            _refuse(path)
    aside = {path: hidden(path) for path in new}
    try:
        for path, content in new.items():
            remove_leftovers(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing(path, len(content)):
                _write(aside[path], content)
        for path in new:
            aside[path].replace(path)
            sync_directory(path.parent)
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)


def write_directory(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Make `directory` with these files: written aside, synced to disk, then renamed.

    A crash leaves the directory whole or absent. If it already holds the same files, nothing is done.

    Raises:
        FileExistsError: If it holds anything else.
    """

    def is_done() -> bool:
        return all(_is_file_with(directory / name, content) for name, content in contents.items())

    if is_done():
        return
    remove_leftovers(directory)
    aside = hidden(directory)
    try:
        with writing(directory, sum(map(len, contents.values()))):
            aside.mkdir(parents=True)
            for name, content in contents.items():
                _write(aside / name, content)
            sync_directory(aside)
        try:
            aside.rename(directory)
        except OSError:
            if is_done():  # someone else was faster
                return
            if directory.exists():
                _refuse(directory)
            raise
        sync_directory(directory.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            msg = f"is not sound JSON: {show(key)} is given twice"
            raise ValueError(msg)
        result[key] = value
    return result


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _is_file_with(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _refuse(path: Path) -> None:
    what = "directory" if path.is_dir() else "file"
    msg = f"{path} exists and holds something else; save into a new {what}, or remove it first"
    raise FileExistsError(msg) from None
