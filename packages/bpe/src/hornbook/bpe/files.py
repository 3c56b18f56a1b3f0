"""GPT-2's vocab.json and merges.txt, and directories that are written whole or not at all."""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn


def _byte_characters() -> list[str]:
    """GPT-2's printable character for each byte (encoder.py, bytes_to_unicode).

    Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and on: space is "Ġ".
    """
    itself = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(value if value in itself else next(others)) for value in range(256)]


_CHARACTERS = _byte_characters()
_BYTES = {character: value for value, character in enumerate(_CHARACTERS)}


def printable(token: bytes) -> str:
    """Spell a token in GPT-2's alphabet.

    Example:
        >>> printable(" né".encode())
        'ĠnÃ©'
    """
    return "".join([_CHARACTERS[value] for value in token])


def from_printable(text: str) -> bytes:
    """The token that `printable` spells so.

    Raises:
        ValueError: If a character is not in the alphabet.
    """
    try:
        return bytes([_BYTES[character] for character in text])
    except KeyError as error:
        msg = f"{text!r} is not in GPT-2's alphabet of bytes: {error.args[0]!r}"
        raise ValueError(msg) from None


def dump_vocab(ids: Mapping[bytes, int]) -> bytes:
    """The content of vocab.json."""
    return _dump_json({printable(token): token_id for token, token_id in ids.items()})


def dump_merges(merges: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The content of merges.txt."""
    lines = ["#version: 0.2", *(f"{printable(left)} {printable(right)}" for left, right in merges)]
    return ("\n".join(lines) + "\n").encode()


def dump_metadata(metadata: Mapping[str, Any]) -> bytes:
    """The content of a small file of settings."""
    return _dump_json(metadata, indent=2)


def parse_vocab(path: Path, special_tokens: Collection[str] = ()) -> dict[int, bytes]:
    """Read a vocab.json.

    A special token may also be spelled plainly if GPT-2's alphabet cannot spell it, as in "<|my token|>".

    Raises:
        ValueError: If the file is not JSON, not of this form, or gives one id to two tokens.
    """
    content = parse_json(path)
    vocab: dict[int, bytes] = {}
    for text, token_id in content.items():
        if type(token_id) is not int:
            msg = f"{path}: the id of {text!r} must be an integer, got {token_id!r}"
            raise ValueError(msg)
        if token_id in vocab:
            msg = f"{path}: id {token_id} is given to two tokens, {printable(vocab[token_id])!r} and {text!r}"
            raise ValueError(msg)
        try:
            vocab[token_id] = from_printable(text)
        except ValueError as error:
            if text not in special_tokens:
                msg = f"{path}: {error}; if it is a special token, name it in special_tokens"
                raise ValueError(msg) from None
            vocab[token_id] = text.encode()
    return vocab


def parse_merges(path: Path) -> list[tuple[bytes, bytes]]:
    """Read a merges.txt.

    Raises:
        ValueError: If the file is not text of this form.
    """
    try:
        lines = path.read_bytes().decode().splitlines()
    except UnicodeDecodeError as error:
        msg = f"{path} is not a merges.txt: {error}"
        raise ValueError(msg) from None
    merges = []
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.startswith("#version"):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            msg = f"{path}, line {number}: a merge is two tokens with a space between, got {line[:80]!r}"
            raise ValueError(msg)
        try:
            merges.append((from_printable(parts[0]), from_printable(parts[1])))
        except ValueError as error:
            msg = f"{path}, line {number}: {error}"
            raise ValueError(msg) from None
    return merges


def parse_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; pickle and other formats are refused, and so is a key given twice.

    Raises:
        ValueError: If the file is anything else.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for index, key in enumerate(keys) if key in keys[:index])
            msg = f"{twice!r} is given twice"
            raise ValueError(msg)
        return result

    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=unique)
    except (
        ValueError,
        RecursionError,
    ) as error:  # both JSONDecodeError and UnicodeDecodeError are ValueErrors
        msg = f"{path} is not sound JSON: {error}"
        raise ValueError(msg) from None
    if not isinstance(content, dict):
        msg = f"{path} must hold a JSON object, got {type(content).__name__}"
        raise ValueError(msg)
    return content


def write_directory(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Make `directory` with these files: written aside, synced to disk, then renamed.

    A crash leaves the directory whole or absent. If it already holds the same files, nothing is done.

    Raises:
        FileExistsError: If it holds anything else.
    """
    if _holds(directory, contents):
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = directory.parent / f".{directory.name}.{os.getpid()}-{os.urandom(4).hex()}"
    aside.mkdir()
    try:
        for name, content in contents.items():
            with (aside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync_directory(aside)
        try:
            aside.rename(directory)
        except OSError:
            if _holds(directory, contents):  # someone else was faster
                return
            if directory.exists():
                _refuse(directory)
            raise
        _sync_directory(directory.parent)
    finally:
        import shutil

        shutil.rmtree(aside, ignore_errors=True)


def _refuse(directory: Path) -> NoReturn:
    msg = f"{directory} exists and holds something else; save into a new directory, or remove it first"
    raise FileExistsError(msg) from None


def _holds(directory: Path, contents: Mapping[str, bytes]) -> bool:
    try:
        return all((directory / name).read_bytes() == content for name, content in contents.items())
    except OSError:
        return False


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open directories, and needs no such call
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dump_json(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=indent) + "\n").encode()
