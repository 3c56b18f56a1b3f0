"""The compiled core as Python objects; see csrc/bpe.h for what each function does.

ctypes lets go of the interpreter's lock during each call, so threads run side by side.
"""

import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from ctypes import c_char_p, c_int32, c_int64, c_void_p
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .cuts import BLOCK_BYTES
from .engine import PackedCounts
from .special import SpecialTokens

if TYPE_CHECKING:
    from .engine import TokenIds
    from .patterns import Pattern
    from .stretches import Utf8
    from .vocabulary import MergeTable

_OUT_OF_MEMORY = -1
_MISSING_BYTE = -2
_NOT_UTF8 = -1000
_FASTEST = -1  # of the forms of the core that the machine can execute
_SLACK_BYTES = 16  # ids and sorted words are written in steps of so many
_FEW_BYTES = 1 << 16  # of text; memory for its ids is there

# Result and arguments. Texts are bytes objects or addresses, arrays and handles are addresses.
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "hb_valid_prefix": (c_int64, [c_void_p, c_int64, c_int32]),
    "hb_scan": (c_int64, [c_char_p, c_int64, c_void_p, c_int32]),
    "hb_specials_new": (c_void_p, [c_char_p, c_void_p, c_int64]),
    "hb_specials_free": (None, [c_void_p]),
    "hb_counter_new": (c_void_p, [c_void_p, c_int32]),
    "hb_count_text": (c_int32, [c_void_p, c_void_p, c_void_p, c_int64]),
    "hb_count_words": (c_int32, [c_void_p, c_void_p, c_void_p, c_void_p, c_int64]),
    "hb_counter_size": (None, [c_void_p, c_void_p, c_void_p]),
    "hb_counter_words": (None, [c_void_p, c_void_p, c_void_p, c_void_p]),
    "hb_counter_free": (None, [c_void_p]),
    "hb_counter_sort": (None, [c_void_p]),
    "hb_sorted_words": (c_int64, [c_void_p, c_int64, c_void_p, c_void_p, c_void_p]),
    "hb_ascending_words": (c_int64, [c_void_p, c_void_p, c_int64]),
    "hb_merges_new": (c_void_p, [c_void_p, c_void_p, c_void_p, c_int64, c_void_p]),
    "hb_merges_free": (None, [c_void_p]),
    "hb_encoder_new": (c_void_p, [c_void_p, c_int32, c_int64, c_void_p, c_int32]),
    "hb_encode_text": (c_int64, [c_void_p, c_void_p, c_void_p, c_void_p, c_int64, c_void_p]),
    "hb_encode_words": (c_int64, [c_void_p, c_char_p, c_void_p, c_int64, c_void_p]),
    "hb_encoder_free": (None, [c_void_p]),
    "hb_decoded_size": (c_int64, [c_void_p, c_int64, c_void_p, c_int64]),
    "hb_decode": (None, [c_void_p, c_void_p, c_void_p, c_int64, c_void_p]),
    "hb_learner_new": (c_void_p, [c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int32]),
    "hb_learner_run": (c_int64, [c_void_p, c_int64]),
    "hb_learner_merges": (None, [c_void_p, c_void_p]),
    "hb_learner_free": (None, [c_void_p]),
}


@cache
def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the types of all functions; returns the library."""
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _hash_key() -> NDArray[np.uint64]:
    """A random key for a hash table.

    Nobody outside can prepare pretokens that collide. And each table has its own: what comes out of one in
    the order of its slots would otherwise go into the next all in one place, in time that is quadratic.
    """
    return np.frombuffer(os.urandom(16), np.uint64)


class Handle:
    """An object of the core: freed when nothing refers to it any more.

    Args:
        library: The core.
        kind: "counter" for hb_counter_new and hb_counter_free, and so on.
        arguments: For hb_*_new.

    Raises:
        MemoryError: If there is no memory for it.
    """

    def __init__(self, library: ctypes.CDLL, kind: str, *arguments: object) -> None:
        self.address = getattr(library, f"hb_{kind}_new")(*arguments)
        if not self.address:
            raise MemoryError
        finalizer = weakref.finalize(self, getattr(library, f"hb_{kind}_free"), self.address)
        # At exit the process ends anyway, and a thread or an exit handler may still use what it has.
        finalizer.atexit = False


class NativeSpecials:
    """Special tokens as the core knows them."""

    def __init__(self, library: ctypes.CDLL, specials: SpecialTokens) -> None:
        tokens = [token.encode() for token in specials.ids]
        ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)
        self.ids = np.array(list(specials.ids.values()), np.int32)
        self._handle = Handle(library, "specials", b"".join(tokens), ends.ctypes.data, len(tokens))
        self.address = self._handle.address
        self.ids_address = self.ids.ctypes.data

    @classmethod
    def of(cls, library: ctypes.CDLL, specials: SpecialTokens) -> "NativeSpecials":
        """Made once for each SpecialTokens."""
        if not isinstance(specials.native, cls):
            specials.native = cls(library, specials)
        return specials.native


class NativeCounter:
    """`engine.Counter` in C; `simd` is the number of a form of the core, for tests."""

    def __init__(
        self, library: ctypes.CDLL, pattern: "Pattern", specials: SpecialTokens, simd: int = _FASTEST
    ) -> None:
        self._library, self._pattern, self._specials = library, pattern, specials
        self._native_specials = NativeSpecials.of(library, specials)
        key = _hash_key()
        self._handle = Handle(library, "counter", key.ctypes.data, simd)

    def add_text(self, block: "Utf8") -> None:
        """Count the pretokens between special tokens.

        Raises:
            UnicodeDecodeError: If the block is not valid UTF-8; part of it may have been counted.
        """
        if self._pattern.name == "gpt2":
            status = self._library.hb_count_text(
                self._handle.address, self._native_specials.address, _start(block), len(block)
            )
            _check(status, self._library, block)
            return
        for part in self._specials.split(str(block, "utf-8"))[::2]:
            text = part.encode()
            ends = self._pattern.spans(text)
            data = np.frombuffer(text, np.uint8)
            self._add_words(data, ends, None)

    def add_counts(self, counts: PackedCounts) -> None:
        """Add what was counted elsewhere."""
        self._add_words(counts.data, counts.ends, counts.counts)

    def _add_words(
        self, data: NDArray[np.uint8], ends: NDArray[np.int64], counts: NDArray[np.int64] | None
    ) -> None:
        address = None if counts is None else counts.ctypes.data
        status = self._library.hb_count_words(
            self._handle.address, data.ctypes.data, ends.ctypes.data, address, len(ends)
        )
        _check_memory(status)

    def __len__(self) -> int:
        return self._size()[0]

    def result(self) -> PackedCounts:
        """Everything counted so far, in no particular order."""
        packed = _room(*self._size())
        self._library.hb_counter_words(self._handle.address, *[array.ctypes.data for array in packed])
        return packed

    def sort(self) -> None:
        """Put what was counted in ascending order; the only thing left to do with it is `sorted_result`."""
        self._library.hb_counter_sort(self._handle.address)

    def sorted_result(self, others: "Sequence[NativeCounter]") -> PackedCounts:
        """What this counter and others counted together, all of them sorted before."""
        counters = [self, *others]
        handles = np.array([counter._handle.address for counter in counters], np.uintp)
        most_words, most_bytes = np.sum([counter._size() for counter in counters], axis=0).tolist()
        packed = _room(most_words, most_bytes + _SLACK_BYTES)
        addresses = [array.ctypes.data for array in packed]
        num_words = self._library.hb_sorted_words(handles.ctypes.data, len(handles), *addresses)
        num_bytes = packed.ends[num_words - 1] if num_words else 0
        packed.data.resize(num_bytes, refcheck=False)
        packed.ends.resize(num_words, refcheck=False)
        packed.counts.resize(num_words, refcheck=False)
        return packed

    def _size(self) -> tuple[int, int]:
        size = np.empty(2, np.int64)
        address = size.ctypes.data
        self._library.hb_counter_size(self._handle.address, address, address + 8)
        return int(size[0]), int(size[1])


def _room(num_words: int, num_bytes: int) -> PackedCounts:
    return PackedCounts(
        np.empty(num_bytes, np.uint8), np.empty(num_words, np.int64), np.empty(num_words, np.int64)
    )


def is_ascending(library: ctypes.CDLL, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> bool:
    """Whether each string is smaller than the next; they end at `ends`, the last where `data` does."""
    in_order: int = library.hb_ascending_words(data.ctypes.data, ends.ctypes.data, len(ends))
    return in_order == len(ends)


class NativeEncoder:
    """`engine.Encoder` in C; `simd` is the number of a form of the core, for tests."""

    def __init__(
        self,
        library: ctypes.CDLL,
        merges: Handle,
        pattern: "Pattern",
        dtype: np.dtype[Any],
        cache_entries: int,
        simd: int = _FASTEST,
    ) -> None:
        self._library, self._merges, self._pattern, self._dtype = library, merges, pattern, dtype
        key = _hash_key()
        self._handle = Handle(
            library, "encoder", merges.address, dtype.itemsize, cache_entries, key.ctypes.data, simd
        )
        self._slack = _SLACK_BYTES // dtype.itemsize
        self._block_ids = np.empty(0, dtype)

    def encode(self, text: "Utf8", specials: SpecialTokens) -> "TokenIds":
        """The token ids of a text, special tokens recognised.

        Raises:
            UnicodeDecodeError: If it is not valid UTF-8.
            ValueError: If the vocabulary lacks a byte of it.
        """
        if self._pattern.name == "gpt2":
            native = NativeSpecials.of(self._library, specials)
            ids = self._memory_for(len(text))
            num_ids = self._library.hb_encode_text(
                self._handle.address,
                native.address,
                native.ids_address,
                _start(text),
                len(text),
                ids.ctypes.data,
            )
            _check(num_ids, self._library, text)
            return ids[:num_ids].copy() if ids is self._block_ids else _cut(ids, num_ids)
        parts = specials.split(str(text, "utf-8"))
        encoded = [
            np.array([specials.ids[part]], self._dtype) if index % 2 else self._encode_part(part.encode())
            for index, part in enumerate(parts)
        ]
        return np.concatenate(encoded) if len(encoded) > 1 else encoded[0]

    def _memory_for(self, num_bytes: int) -> "TokenIds":
        """Memory for the ids of a text; for blocks always the same, because fresh memory costs time."""
        num_ids = num_bytes + self._slack
        if not _FEW_BYTES < num_bytes <= BLOCK_BYTES:
            return np.empty(num_ids, self._dtype)
        if len(self._block_ids) < num_ids:
            self._block_ids = np.empty(BLOCK_BYTES + self._slack, self._dtype)
        return self._block_ids

    def _encode_part(self, text: bytes) -> "TokenIds":
        ends = self._pattern.spans(text)
        ids = np.empty(len(text) + self._slack, self._dtype)
        num_ids = self._library.hb_encode_words(
            self._handle.address, text, ends.ctypes.data, len(ends), ids.ctypes.data
        )
        _check(num_ids, self._library, text)
        return _cut(ids, num_ids)


def native_merges(library: ctypes.CDLL, byte_ids: Mapping[int, int], merges: "MergeTable") -> Handle:
    """The merges of a tokenizer, for any number of encoders."""
    ids = np.full(256, -1, np.int32)
    for value, token_id in byte_ids.items():
        ids[value] = token_id
    pairs = np.fromiter(chain.from_iterable(merges), np.int32, 2 * len(merges))
    products = np.fromiter((product for _, product in merges.values()), np.int32, len(merges))
    key = _hash_key()
    arrays = ids.ctypes.data, pairs.ctypes.data, products.ctypes.data
    return Handle(library, "merges", *arrays, len(products), key.ctypes.data)


class NativeJoiner:
    """`engine.Joiner` in C."""

    def __init__(self, library: ctypes.CDLL, tokens: Sequence[bytes]) -> None:
        self._library = library
        self._data = np.frombuffer(b"".join(tokens), np.uint8)
        self._ends = np.cumsum([len(token) for token in tokens], dtype=np.int64)

    def join(self, ids: NDArray[Any]) -> bytes:
        """The tokens of these ids, one after another."""
        numbers = np.array(ids, np.uint32)  # a copy, which nobody can change between the two calls
        address, ends = numbers.ctypes.data, self._ends.ctypes.data
        size = self._library.hb_decoded_size(ends, len(self._ends), address, len(numbers))
        if size < 0:
            msg = f"there is no token {numbers[-1 - size]}"
            raise ValueError(msg)
        text = np.empty(size, np.uint8)
        self._library.hb_decode(self._data.ctypes.data, ends, address, len(numbers), text.ctypes.data)
        return text.tobytes()


def _check_memory(status: int) -> None:
    if status == _OUT_OF_MEMORY:
        raise MemoryError


def _start(text: "Utf8") -> bytes | int:
    """Where a text lies, as ctypes takes it."""
    return text if isinstance(text, bytes) else np.frombuffer(text, np.uint8).ctypes.data


def _check(result: int, library: ctypes.CDLL, text: "Utf8") -> None:
    """Raise the error that the core returned, if it is one."""
    if result == _NOT_UTF8:
        valid = library.hb_valid_prefix(_start(text), len(text), _FASTEST)
        encoding, reason = "utf-8", "not well formed"
        raise UnicodeDecodeError(encoding, text, valid, valid + 1, reason)
    if result <= _MISSING_BYTE:
        msg = f"byte 0x{_MISSING_BYTE - result:02x} is not in the vocabulary"
        raise ValueError(msg)
    _check_memory(result)


def _cut(ids: "TokenIds", num_ids: int) -> "TokenIds":
    """The ids that were written."""
    ids.resize(num_ids, refcheck=False)  # ids are far fewer than bytes: gives the rest of the memory back
    return ids
