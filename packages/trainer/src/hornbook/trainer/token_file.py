"""A corpus as one file of token ids, and the manifest that says what they are."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .files import atomic_file, sha256_of_file
from .strict_json import parse_object
from .unchanged import known_sha256

_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenManifest:
    """What a token file holds; stands beside it as `<name>.json`."""

    num_tokens: int
    dtype: str  # '<u2' or '<u4': little-endian on every machine
    vocab_size: int
    sha256: str  # of the token file
    tokenizer: str  # fingerprint of the tokenizer that made the ids
    text: str  # SHA-256 of the text they were made from
    documents: dict[str, Any] | None = None
    """About `<name>.documents`, where each document begins (uint64), if known: `end`, the token between them,
    `count` and `sha256`."""
    version: int = _VERSION


@dataclass(frozen=True, slots=True)
class TokenFile:
    """An open token file: `tokens` is mapped, not read, so its size is no matter."""

    path: Path
    manifest: TokenManifest
    tokens: NDArray[np.unsignedinteger[Any]]

    @property
    def num_tokens(self) -> int:
        """Number of ids in the file."""
        return len(self.tokens)


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest type that holds every id below `vocab_size`: uint16 to 65,536 ids, uint32 above.

    Example:
        >>> token_dtype(65_536), token_dtype(65_537)
        (dtype('uint16'), dtype('uint32'))
    """
    if not 0 < vocab_size <= 2**32:
        msg = f"vocab_size must be between 1 and 2**32, got {vocab_size}"
        raise ValueError(msg)
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def write_token_file(
    path: str | os.PathLike[str],
    chunks: Iterable[NDArray[Any]],
    *,
    vocab_size: int,
    tokenizer: str,
    text: str,
) -> TokenManifest:
    """Write ids chunk by chunk, then the manifest; both are whole or absent.

    Args:
        path: The token file; its manifest becomes `<path>.json`.
        chunks: Arrays of integer ids, in order; never held together in memory.
        vocab_size: Number of ids there are; decides the type on disk.
        tokenizer: Fingerprint of the tokenizer.
        text: SHA-256 of the text.

    Returns:
        The manifest as written.

    Raises:
        ValueError: If an id is not below `vocab_size`; nothing is written then.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.bin"
        >>> ids = [np.array([1, 2]), np.array([3])]
        >>> manifest = write_token_file(path, ids, vocab_size=257, tokenizer="t", text="x")
        >>> open_token_file(path, vocab_size=257).tokens.tolist()
        [1, 2, 3]
    """
    path = Path(path)
    dtype = token_dtype(vocab_size)
    digest = hashlib.sha256()
    num_tokens = 0
    with atomic_file(path) as file:
        for chunk in chunks:
            if len(chunk):
                least, greatest = int(chunk.min()), int(chunk.max())
                if least < 0 or greatest >= vocab_size:
                    msg = f"token ids must be 0 to {vocab_size - 1}, got {least} to {greatest}"
                    raise ValueError(msg)
            raw = chunk.astype(dtype, copy=False).tobytes()
            file.write(raw)
            digest.update(raw)
            num_tokens += len(chunk)
    manifest = TokenManifest(
        num_tokens=num_tokens,
        dtype=dtype.str,
        vocab_size=vocab_size,
        sha256=digest.hexdigest(),
        tokenizer=tokenizer,
        text=text,
    )
    # The manifest comes last: a token file without one is a write that did not end.
    with atomic_file(_manifest_path(path)) as file:
        file.write(json.dumps(asdict(manifest), indent=2).encode() + b"\n")
    return manifest


def open_token_file(
    path: str | os.PathLike[str],
    *,
    vocab_size: int | None = None,
    tokenizer: str | None = None,
    text: str | None = None,
    document_end: str | None = None,
    verify: Literal["changed", "always", "never"] = "changed",
) -> TokenFile:
    """Map a token file after checking it against its manifest.

    Its SHA-256 takes a second a gigabyte to compute. So what was found is written down beside it, and it is
    read again only when the size or a time of the file has changed, or one of 64 samples, which takes
    milliseconds. Bits that a disk flips elsewhere by itself are found with "always".

    Args:
        path: The token file; `<path>.json` must stand beside it.
        vocab_size: Number of ids the model has; the file must have been made for the same number.
        tokenizer: Fingerprint of the tokenizer at hand; the file must have been made by it.
        text: SHA-256 of the text at hand; the file must have been made from it.
        document_end: Special token between documents; where they begin must have been found by it.
        verify: When to read the whole file, and that of its documents, and compare the SHA-256.

    Raises:
        FileNotFoundError: If the file, its manifest, or the places of documents it speaks of are missing.
        ValueError: If the file and its manifest, or what you expect, disagree; both values are named.
    """
    path = Path(path)
    manifest = _read_manifest(_manifest_path(path))
    dtype = token_dtype(manifest.vocab_size)
    found: list[tuple[str, object, object]] = [
        ("dtype", manifest.dtype, dtype.str),
        ("size in bytes", path.stat().st_size, manifest.num_tokens * dtype.itemsize),
    ]
    if vocab_size is not None:
        found.append(("vocab_size", manifest.vocab_size, vocab_size))
    if tokenizer is not None:
        found.append(("tokenizer", manifest.tokenizer, tokenizer))
    if text is not None:
        found.append(("text", manifest.text, text))
    if document_end is not None:
        found.append(("end of documents", (manifest.documents or {}).get("end"), document_end))
    _refuse_differences(path, found)
    _verify(path, manifest.sha256, verify)
    if manifest.documents is not None:
        places, size = path.with_name(f"{path.name}.documents"), 8 * manifest.documents["count"]
        _refuse_differences(places, [("size in bytes", places.stat().st_size, size)])
        _verify(places, manifest.documents["sha256"], verify)
    if manifest.num_tokens == 0:
        return TokenFile(path, manifest, np.empty(0, dtype))  # an empty file can't be mapped
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return TokenFile(path, manifest, np.frombuffer(mapped, dtype))


def _verify(path: Path, sha256: str, verify: Literal["changed", "always", "never"]) -> None:
    if verify == "changed" and known_sha256(path) == sha256:
        verify = "never"
    if verify != "never":  # also when it is what was written down that is wrong
        _refuse_differences(path, [("sha256", sha256_of_file(path), sha256)])


def _refuse_differences(path: Path, found: list[tuple[str, object, object]]) -> None:
    for what, value, expected in found:
        if value != expected:
            msg = f"token file {path}: {what} is {value}, expected {expected}; encode the text again"
            raise ValueError(msg)


def _manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_manifest(path: Path) -> TokenManifest:
    if not path.exists():
        msg = f"{path} is missing: a token file is read with the manifest that was written with it"
        raise FileNotFoundError(msg)
    try:
        manifest = TokenManifest(**parse_object(path.read_bytes()))
        for field in fields(TokenManifest):
            allowed = (dict, NoneType) if field.name == "documents" else field.type
            if not isinstance(getattr(manifest, field.name), allowed):  # type: ignore[arg-type]
                raise TypeError(manifest)
        kinds = {name: type(value) for name, value in (manifest.documents or {}).items()}
        if manifest.documents is not None and kinds != {"end": str, "count": int, "sha256": str}:
            raise TypeError(manifest)
    except (ValueError, TypeError) as error:
        msg = f"{path} is not the manifest of a token file: {error}"
        raise ValueError(msg) from error
    if manifest.version != _VERSION:
        msg = f"{path} has version {manifest.version!r}, this hornbook reads version {_VERSION}"
        raise ValueError(msg)
    return manifest
