"""A trained tokenizer: text to ids and back."""

import hashlib
import json
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import files
from .arguments import check_file, check_num_processes
from .cuts import PIECE_BYTES, blocks, file_pieces, text_cuts
from .encode import PretokenCache, PretokenEncoder
from .pool import run_job
from .pretokenize import pretokenize, unicode_pattern
from .progress import Progress
from .special import SpecialSplitter, check_special_tokens, surrogate_position
from .vocabulary import add_special_tokens, check_all_made, check_vocab, merge_table, ordinary_ids

_VOCAB_FILE, _MERGES_FILE, _METADATA_FILE = "vocab.json", "merges.txt", "hornbook_bpe.json"
_FORMAT = {"format": "hornbook.bpe", "format_version": 1, "pretokens": "gpt2"}

# About 10 MB for English; the pretokens of a text are mostly the same few thousand.
_CACHE_ENTRIES = 1 << 16
# `encode_iterable` promises to stay small.
_SMALL_CACHE_ENTRIES = 1 << 12

TokenIds = NDArray[np.uint16] | NDArray[np.uint32]


class Tokenizer:
    """Byte-level BPE with GPT-2's pretokens.

    Args:
        vocab: Token id to bytes; the ids are 0 to n - 1.
        merges: Pairs of tokens, the earliest learned first.
        special_tokens: Strings recognised in any text that is encoded, the longest first. Those that the
            vocabulary lacks are appended to it. For text from strangers, make a tokenizer without them.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ids have holes, two tokens are the same, a merge is given twice or its parts or
            product are not in the vocabulary, or a special token is empty or given twice.

    Example:
        >>> vocab = {value: bytes([value]) for value in range(256)} | {256: b"th", 257: b"the"}
        >>> tokenizer = Tokenizer(vocab, [(b"t", b"h"), (b"th", b"e")], ["<|endoftext|>"])
        >>> tokenizer.encode("the hat<|endoftext|>")
        [257, 32, 104, 97, 116, 258]
        >>> tokenizer.decode([257, 32, 104, 97, 116, 258])
        'the hat<|endoftext|>'
    """

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
    ) -> None:
        specials = check_special_tokens([] if special_tokens is None else special_tokens)
        self._vocab = check_vocab(vocab)
        self._special_ids = add_special_tokens(self._vocab, specials)
        self._ids = ordinary_ids(self._vocab, self._special_ids)
        table = merge_table(merges, self._ids)
        self._merges = [(left, right) for left, right in merges]
        self._dtype: np.dtype[Any] = np.dtype(np.uint16 if len(self._vocab) <= 1 << 16 else np.uint32)
        self._splitter = SpecialSplitter(specials)
        self._cuts = text_cuts(specials)
        byte_ids = {value: self._ids[byte] for value in range(256) if (byte := bytes([value])) in self._ids}
        self._encoder = PretokenEncoder(byte_ids, table)
        self._cache = self._new_cache(_CACHE_ENTRIES)
        unicode_pattern()  # now, so that encoding needs no memory for it later

    @classmethod
    def from_files(
        cls,
        vocab_filepath: str | os.PathLike[str],
        merges_filepath: str | os.PathLike[str],
        special_tokens: Sequence[str] | None = None,
    ) -> Self:
        """Read GPT-2's vocab.json and merges.txt.

        Args:
            vocab_filepath: JSON object of tokens, spelled in GPT-2's alphabet of bytes, and their ids.
            merges_filepath: One merge a line, two tokens with a space between.
            special_tokens: As for the class.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is not of its form, or the two do not fit: cut off, for instance.
        """
        specials = check_special_tokens([] if special_tokens is None else special_tokens)
        vocab_path, merges_path = check_file(vocab_filepath), check_file(merges_filepath)
        vocab, merges = files.parse_vocab(vocab_path, specials), files.parse_merges(merges_path)
        try:
            tokenizer = cls(vocab, merges, specials)
            check_all_made(vocab, merges, specials)
        except ValueError as error:
            msg = f"{vocab_path} and {merges_path} make no tokenizer: {error}"
            raise ValueError(msg) from None
        return tokenizer

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Read a directory that `save` wrote, special tokens included.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file was changed or damaged since, or comes from a later version.
        """
        folder = Path(directory)
        paths = {name: check_file(folder / name) for name in (_VOCAB_FILE, _MERGES_FILE, _METADATA_FILE)}
        metadata = files.parse_json(paths[_METADATA_FILE])
        for key, expected in _FORMAT.items():
            if metadata.get(key) != expected:
                msg = f"{paths[_METADATA_FILE]}: {key} must be {expected!r}, got {metadata.get(key)!r}"
                raise ValueError(msg)
        for name in (_VOCAB_FILE, _MERGES_FILE):
            if hashlib.sha256(paths[name].read_bytes()).hexdigest() != metadata.get(f"{name}_sha256"):
                msg = f"{paths[name]} is not the file that was saved: its SHA-256 has changed"
                raise ValueError(msg)
        special_ids = metadata.get("special_tokens")
        if not isinstance(special_ids, dict) or not all(type(value) is int for value in special_ids.values()):
            msg = f"{paths[_METADATA_FILE]}: special_tokens must map strings to ids, got {special_ids!r}"
            raise ValueError(msg)
        vocab = files.parse_vocab(paths[_VOCAB_FILE])
        vocab |= {token_id: token.encode() for token, token_id in special_ids.items()}
        tokenizer = cls(vocab, files.parse_merges(paths[_MERGES_FILE]), list(special_ids))
        if tokenizer._special_ids != special_ids or tokenizer.fingerprint != metadata.get("fingerprint"):
            msg = f"{folder} is damaged: its tokenizer is not the one that was saved"
            raise ValueError(msg)
        return tokenizer

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write vocab.json and merges.txt in GPT-2's form and the special tokens beside them.

        The directory appears whole or not at all; if it already holds this tokenizer, nothing is done.

        Raises:
            FileExistsError: If it holds anything else.
        """
        contents = {_VOCAB_FILE: files.dump_vocab(self._ids), _MERGES_FILE: files.dump_merges(self._merges)}
        metadata = {
            **_FORMAT,
            "special_tokens": self._special_ids,
            "fingerprint": self.fingerprint,
            **{f"{name}_sha256": hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        }
        files.write_directory(Path(directory), contents | {_METADATA_FILE: files.dump_metadata(metadata)})

    @property
    def vocab(self) -> dict[int, bytes]:
        """Token id to bytes, in order of ids; a copy."""
        return dict(self._vocab)

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The merges, the earliest learned first; a copy."""
        return list(self._merges)

    @property
    def special_tokens(self) -> list[str]:
        """The special tokens, as they were given."""
        return list(self._special_ids)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; ids are 0 to vocab_size - 1."""
        return len(self._vocab)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over vocabulary, merges and special tokens: equal if and only if these are.

        It does not depend on the order in which special tokens were given.
        """
        content = [
            [token.hex() for token in self._vocab.values()],
            [[left.hex(), right.hex()] for left, right in self._merges],
            sorted([token_id, token] for token, token_id in self._special_ids.items()),
        ]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def token_num_bytes(self) -> NDArray[np.int64]:
        """Bytes of text that each token stands for, indexed by id; read only.

        A special token marks something about the text and is none of it: 0. So the sum over the ids of a text
        is the number of its bytes without special tokens, the denominator of bits per byte.
        """
        lengths = np.fromiter(map(len, self._vocab.values()), np.int64, len(self._vocab))
        lengths[list(self._special_ids.values())] = 0
        lengths.flags.writeable = False
        return lengths

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`.

        Raises:
            TypeError: If it is not a string.
            ValueError: If it holds half a surrogate pair, or a byte that the vocabulary lacks.
        """
        if not isinstance(text, str):
            msg = f"text must be a str, got {type(text).__name__}; decode bytes first, as UTF-8"
            raise TypeError(msg)
        ids: list[int] = np.frombuffer(self.encode_packed(text), self._dtype).tolist()
        return ids

    def encode_iterable(self, iterable: Iterable[str]) -> Iterator[int]:
        """Yield the token ids of the joined strings, wherever a string ends: inside words, special tokens.

        Reads a few thousand characters ahead and holds no more, unless the text has no white space and no
        special token for longer than that.

        Args:
            iterable: Strings, for instance a file opened with `encoding="utf-8", newline=""`.

        Raises:
            TypeError: If it yields anything but strings.
            ValueError: As for `encode`; positions count from the first string.

        Example:
            >>> tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [], ["<e>"])
            >>> list(tokenizer.encode_iterable(["a<", "e>b"]))
            [97, 256, 98]
        """
        cache = self._new_cache(_SMALL_CACHE_ENTRIES)
        for packed in self._encode_blocks(_only_strings(iterable), cache):
            yield from np.frombuffer(packed, self._dtype).tolist()

    def encode_file(
        self,
        path: str | os.PathLike[str],
        *,
        num_processes: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[TokenIds]:
        """Yield the token ids of a text file in UTF-8, in order, an array for each MB of text.

        Joined, the arrays are `encode` of the whole text. Memory does not grow with the file, unless it
        has no place to cut it. To end the work early, close the iterator.

        Args:
            path: The file. No line end and no byte order mark is changed.
            num_processes: Processes that encode; by default one for each processor. A small file takes one.
            progress: Called with stage "encode".

        Returns:
            Arrays of uint16 if the vocabulary has at most 65,536 tokens, of uint32 otherwise.

        Raises:
            FileNotFoundError: If there is no such file; at once, the other errors when they are met.
            ValueError: If it is not UTF-8.
        """
        return self._encode_pieces(
            check_file(path), check_num_processes(num_processes), progress, PIECE_BYTES
        )

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that the ids stand for; they need not be whole characters.

        Raises:
            TypeError: If an id is not an integer.
            ValueError: If an id is not in the vocabulary.
        """
        try:
            return b"".join([self._vocab[token_id] for token_id in map(operator.index, ids)])
        except KeyError as error:
            msg = f"token id {error.args[0]} is not in the vocabulary of {len(self._vocab)} tokens"
            raise ValueError(msg) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that the ids stand for; what is no UTF-8 becomes U+FFFD.

        Raises:
            TypeError: If an id is not an integer.
            ValueError: If an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode(errors="replace")

    def encode_packed(self, text: str) -> bytes:
        """The token ids as raw uint16 or uint32; for encoders inside this package."""
        return b"".join(self._encode_blocks([text], self._cache))

    def _encode_blocks(self, chunks: Iterable[str], cache: PretokenCache) -> Iterator[bytes]:
        position = 0
        for block in blocks(chunks, self._cuts):
            pretokens: list[str] = []
            for index, part in enumerate(self._splitter.split(block)):
                if index % 2 == 0:
                    pretokens += pretokenize(part)
                else:
                    pretokens.append(part)
            try:
                yield b"".join(map(cache.__getitem__, pretokens))
            except UnicodeEncodeError:
                position += surrogate_position(block) or 0
                msg = f"the text has half a surrogate pair at position {position}, which UTF-8 cannot express"
                raise ValueError(msg) from None
            position += len(block)

    def _encode_pieces(
        self, path: Path, num_processes: int, progress: Progress | None, piece_bytes: int
    ) -> Iterator[TokenIds]:
        pieces = file_pieces(path, self.special_tokens, piece_bytes)
        results = run_job(EncodeJob(self), path, pieces, num_processes)
        try:
            for (_, end), packed in zip(pieces, results):  # noqa: B905 - what follows the pieces is empty here
                ids: TokenIds = np.frombuffer(packed, self._dtype).copy()  # writable, as torch wants it
                yield ids
                if progress is not None:
                    progress("encode", end, pieces[-1][1])
        finally:
            results.close()

    def _new_cache(self, max_entries: int) -> PretokenCache:
        return PretokenCache(self._encoder, self._special_ids, self._dtype.char, max_entries)


class EncodeJob:
    """Encodes pieces, each on its own."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make the job again in another process."""
        vocab = {token_id: token.encode("latin-1") for token_id, token in enumerate(settings["vocab"])}
        merges = [(left.encode("latin-1"), right.encode("latin-1")) for left, right in settings["merges"]]
        return cls(Tokenizer(vocab, merges, settings["special_tokens"]))

    def settings(self) -> dict[str, Any]:
        """The tokenizer, each byte as one character."""
        return {
            "job": "encode",
            "vocab": [token.decode("latin-1") for token in self._tokenizer.vocab.values()],
            "merges": [
                [left.decode("latin-1"), right.decode("latin-1")] for left, right in self._tokenizer.merges
            ],
            "special_tokens": self._tokenizer.special_tokens,
        }

    def piece(self, text: str) -> bytes:
        """The token ids of one piece."""
        return self._tokenizer.encode_packed(text)

    def finish(self) -> bytes:
        """Nothing is left."""
        return b""


def _only_strings(iterable: Iterable[str]) -> Iterator[str]:
    for index, chunk in enumerate(iterable):
        if not isinstance(chunk, str):
            msg = f"encode_iterable takes strings, item {index} is {type(chunk).__name__}"
            raise TypeError(msg)
        yield chunk
