"""Targets for what is read from files: a value that can be written and read again, or a ValueError.

The input is the content of the files, one after another with a line of three NULs between them.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbook.bpe.counts import PretokenCounts
from hornbook.bpe.formats import Parts, directory, gpt2, huggingface, tiktoken

_BETWEEN = b"\n\x00\x00\x00\n"


def read_gpt2(data: bytes) -> None:
    """vocab.json and merges.txt, with a special token that is in them or not."""

    def read(folder: Path) -> Parts:
        return gpt2.read(folder / "vocab.json", folder / "merges.txt", ["<|endoftext|>"])

    def write(folder: Path, parts: Parts) -> None:
        gpt2.write(folder / "vocab.json", folder / "merges.txt", parts)

    _read_write_read(data, ("vocab.json", "merges.txt"), read, write)


def read_huggingface(data: bytes) -> None:
    """tokenizer.json."""
    _read_write_read(
        data,
        ("tokenizer.json",),
        lambda folder: huggingface.read(folder / "tokenizer.json", add_special_tokens=False),
        lambda folder, parts: huggingface.write(folder / "tokenizer.json", parts),
    )


def read_tiktoken(data: bytes) -> None:
    """A .tiktoken file."""

    def read(folder: Path) -> Parts:
        return tiktoken.read(folder / "ranks.tiktoken", ["<|endoftext|>"])

    def write(folder: Path, parts: Parts) -> None:
        tiktoken.write(folder / "ranks.tiktoken", parts)

    _read_write_read(data, ("ranks.tiktoken",), read, write)


def read_directory(data: bytes) -> None:
    """The directory format; its check sums are made to fit, or no input would come any further."""
    vocab, merges, metadata, *_ = [*data.split(_BETWEEN), b"", b"", b""]
    content = _json_object(metadata)
    if content is not None:
        content["vocab.json_sha256"] = hashlib.sha256(vocab).hexdigest()
        content["merges.txt_sha256"] = hashlib.sha256(merges).hexdigest()
        metadata = json.dumps(content).encode()
    _read_write_read(
        _BETWEEN.join([vocab, merges, metadata]),
        ("vocab.json", "merges.txt", "hornbook_bpe.json"),
        directory.read,
        lambda folder, parts: directory.write(folder / "written", parts),
        "written",
    )


def read_counts(data: bytes) -> None:
    """A file of counts; its check sum is made to fit."""
    head, _, arrays = data.partition(b"\n")
    header = _json_object(head)
    if header is not None:
        header.pop("sha256", None)
        header["sha256"] = hashlib.sha256(json.dumps(header).encode() + arrays).hexdigest()
        data = json.dumps(header).encode() + b"\n" + arrays
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "counts")
        path.write_bytes(data)
        try:
            counts = PretokenCounts.load(path)
        except ValueError:
            return
        counts.save(path)
        assert PretokenCounts.load(path) == counts


def _read_write_read(
    data: bytes,
    names: tuple[str, ...],
    read: Callable[[Path], Parts],
    write: Callable[[Path, Parts], None],
    written: str = ".",
) -> None:
    contents = [*data.split(_BETWEEN), *[b""] * len(names)]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for name, content in zip(names, contents, strict=False):
            Path(first, name).write_bytes(content)
        try:
            parts = read(Path(first))
        except ValueError:
            return
        try:
            write(Path(second), parts)
        except ValueError:  # not every tokenizer can be said in every format
            return
        again = read(Path(second, written))
        assert again == parts, f"\nread:  {parts!r:.2000}\nagain: {again!r:.2000}"


def _json_object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


TARGETS: dict[str, Callable[[bytes], None]] = {
    "gpt2": read_gpt2,
    "huggingface": read_huggingface,
    "tiktoken": read_tiktoken,
    "directory": read_directory,
    "counts": read_counts,
}
