"""Token files, read again: the manifest, and the ids a stretch at a time."""

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats.files import naming, parse_json, read_text
from ..token_file import TokenManifest, token_file_paths

_IDS_AT_ONCE = 1 << 20


def read_manifest(path: Path) -> TokenManifest:
    """Read the manifest of a token file.

    Raises:
        FileNotFoundError: If there is no token file or no manifest.
        ValueError: If the manifest is none, or the token file is not what it says.
    """
    *_, manifest_path = token_file_paths(path)
    size = path.stat().st_size
    if not manifest_path.exists():
        msg = f"{manifest_path} is missing: a token file is read with the manifest that `encode --out` wrote"
        raise FileNotFoundError(msg)
    with naming(manifest_path):
        content = parse_json(read_text(manifest_path))
        required = {field.name for field in fields(TokenManifest)} - {"documents"}
        if not required <= set(content) or content["dtype"] not in ("<u2", "<u4"):
            msg = "is no manifest of a token file"
            raise ValueError(msg)
        if content["version"] != 1:
            msg = f"has version {content['version']!r}, this program reads 1"
            raise ValueError(msg)
        for name in required:
            kind = int if name in ("num_tokens", "vocab_size", "version") else str
            if type(content[name]) is not kind:
                msg = f"is no manifest of a token file: {name} is {content[name]!r}"
                raise ValueError(msg)
        values: dict[str, Any] = {name: content.get(name) for name in (*required, "documents")}
        manifest = TokenManifest(**values)
        expected = manifest.num_tokens * np.dtype(manifest.dtype).itemsize
        if size != expected:
            msg = f"{path} should have {expected} bytes and has {size}; encode the text again"
            raise ValueError(msg)
    return manifest


def read_ids(
    path: str | os.PathLike[str], dtype: str, begin: int = 0, end: int | None = None
) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
    """Yield the ids from number `begin` to `end`, at most a million at a time."""
    size = np.dtype(dtype).itemsize
    while end is None or begin < end:
        count = _IDS_AT_ONCE if end is None else min(_IDS_AT_ONCE, end - begin)
        ids = np.fromfile(path, dtype, count, offset=begin * size)
        if not len(ids):
            return
        yield ids
        begin += len(ids)


def count_ids(path: str | os.PathLike[str], dtype: str, vocab_size: int) -> NDArray[np.int64]:
    """How often each id occurs in a token file."""
    counts = np.zeros(vocab_size, np.int64)
    for ids in read_ids(path, dtype):
        counts += np.bincount(ids, minlength=vocab_size)
    return counts
