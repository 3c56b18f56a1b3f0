"""Token ids of a corpus in a file, with a manifest that says what they are and where documents begin.

Three files: `<path>` holds the ids, raw and little-endian; `<path>.documents` the place of each document's
first id as raw little-endian uint64, if that is known; `<path>.json` the manifest.
"""

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from .aside import AsideFile, full_disk, is_full_disk, remove_leftovers, sync_directory
from .engine import TokenIds, id_dtype
from .stretches import Utf8


class Documents(TypedDict):
    """What `<path>.documents` holds."""

    end: str  # the special token that ends a document
    count: int
    sha256: str  # of that file


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenManifest:
    """What a token file holds.

    Attributes:
        num_tokens: How many ids.
        dtype: "<u2" or "<u4": little-endian on every machine.
        vocab_size: Of the tokenizer.
        sha256: Of the token file.
        tokenizer: Fingerprint of the tokenizer.
        text: SHA-256 of the text, decompressed; of several texts, of one after another.
        documents: None if the tokenizer has no special token that ends them.
        version: Of this format.
    """

    num_tokens: int
    dtype: str
    vocab_size: int
    sha256: str
    tokenizer: str
    text: str
    documents: Documents | None = None
    version: int = 1


class TokenFileWriter:
    """Writes a token file block by block; for a `with` statement.

    What is written goes to hidden files beside it. `finish` renames them, the manifest last: a token file
    without one is a write that did not end. Whatever ends the work before leaves what was there, untouched.

    Args:
        path: The token file; its folder must exist.
        vocab_size: How many ids there are; decides the type on disk.
        tokenizer: Fingerprint of the tokenizer.
        document_end: The special token that ends a document and its id, None if there is none.

    Raises:
        FileNotFoundError: If its folder does not exist.
        IsADirectoryError: If the file, or one beside it that belongs to it, is a folder.
        OSError: If it cannot be written; if the disk is full, the message says how much was not enough.
    """

    def __init__(
        self,
        path: Path,
        *,
        vocab_size: int,
        tokenizer: str,
        document_end: tuple[str, int] | None,
    ) -> None:
        self._paths = token_file_paths(path)
        for final in self._paths:
            if final.is_dir():
                msg = f"{final} is a folder; give the token file another name"
                raise IsADirectoryError(msg)
        if not path.parent.is_dir():
            msg = f"there is no folder {path.parent.absolute()} to write {path.name} into; make it first"
            raise FileNotFoundError(msg)
        self._vocab_size = vocab_size
        self._tokenizer = tokenizer
        self._document_end = document_end
        self._dtype = id_dtype(vocab_size).newbyteorder("<")
        import hashlib  # here: see counts.py

        self._text_sha256 = hashlib.sha256()
        self._document_begins = True  # with the next id
        self._files = ExitStack()

    def __enter__(self) -> Self:
        for path in self._paths:
            remove_leftovers(path)
        tokens, documents, manifest = self._paths
        self._tokens = self._files.enter_context(_HashedFile(tokens))
        self._documents = self._files.enter_context(_HashedFile(documents))
        self._manifest = self._files.enter_context(AsideFile(manifest))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._files.close()
        except OSError as closing:  # what was left in a buffer finds no room either
            if error is None and not is_full_disk(closing):
                raise
            error = error or closing
        if is_full_disk(error):
            size = sum(file.num_bytes for file in (self._tokens, self._documents, self._manifest))
            raise full_disk(self._paths[0], size) from error

    def add_text(self, text: Utf8) -> None:
        """Take the next block of text into the manifest. `add` writes its ids, at the same time or later."""
        self._text_sha256.update(text)

    def add(self, ids: TokenIds, *, begins_text: bool) -> None:
        """Write the next ids.

        Args:
            ids: At least one.
            begins_text: Whether a new text begins with them, and thus a document.
        """
        if self._document_end is not None:
            self._add_documents(ids, self._document_end[1], begins_text=begins_text)
        self._tokens.add(ids.astype(self._dtype, copy=False))

    def _add_documents(self, ids: TokenIds, end_id: int, *, begins_text: bool) -> None:
        begins = np.flatnonzero(ids == end_id) + 1
        if begins_text or self._document_begins:
            begins = np.append(0, begins)
        # After the very last id no document begins. Whether this is it, the next block tells.
        self._document_begins = len(begins) > 0 and begins[-1] == len(ids)
        if self._document_begins:
            begins = begins[:-1]
        self._documents.add((begins + self._tokens.num_items).astype("<u8"))

    def finish(self) -> TokenManifest:
        """Sync everything to disk and give it its names; then the manifest is there to be read."""
        documents: Documents | None = None
        if self._document_end is not None:
            documents = Documents(
                end=self._document_end[0],
                count=self._documents.num_items,
                sha256=self._documents.sha256.hexdigest(),
            )
        manifest = TokenManifest(
            num_tokens=self._tokens.num_items,
            dtype=self._dtype.str,
            vocab_size=self._vocab_size,
            sha256=self._tokens.sha256.hexdigest(),
            tokenizer=self._tokenizer,
            text=self._text_sha256.hexdigest(),
            documents=documents,
        )
        self._manifest.write(json.dumps(asdict(manifest), indent=2).encode() + b"\n")
        for file in (self._tokens, self._documents, self._manifest):
            file.sync()
        # From here to the end there is no manifest, rather than one that belongs to other ids.
        self._manifest.path.unlink(missing_ok=True)
        sync_directory(self._manifest.path.parent)
        self._tokens.publish()
        if documents is not None:
            self._documents.publish()
        else:
            self._documents.path.unlink(missing_ok=True)  # of the file that was there before
        sync_directory(self._manifest.path.parent)
        self._manifest.publish()
        sync_directory(self._manifest.path.parent)
        return manifest


def token_file_paths(path: Path) -> tuple[Path, Path, Path]:
    """The token file, the file of its documents, its manifest."""
    return path, path.with_name(f"{path.name}.documents"), path.with_name(f"{path.name}.json")


class _HashedFile(AsideFile):
    """Counts what is written, and its SHA-256."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        import hashlib

        self.sha256 = hashlib.sha256()
        self.num_items = 0

    def add(self, items: NDArray[Any]) -> None:
        self.write(items.data)
        self.sha256.update(items.data)
        self.num_items += len(items)
