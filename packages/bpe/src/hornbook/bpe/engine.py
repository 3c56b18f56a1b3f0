"""Chooses who does the work: the compiled core where there is one, else pure Python."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .library import load
from .stretches import Utf8

if TYPE_CHECKING:
    import ctypes

    from .patterns import Pattern
    from .progress import Progress
    from .special import SpecialTokens
    from .vocabulary import MergeTable

# In pure Python an entry takes 150 bytes, in the core 40.
_PURE_CACHE_ENTRIES = 1 << 16

TokenIds = NDArray[np.uint16] | NDArray[np.uint32]


class PackedCounts(NamedTuple):
    """Counted pretokens, without a Python object for each: one after another, where each ends, how many."""

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]


class Counter(Protocol):
    """Counts pretokens; for one thread at a time."""

    def add_text(self, block: Utf8) -> None:
        """Count the pretokens between special tokens.

        Raises:
            UnicodeDecodeError: If the block is not valid UTF-8; part of it may have been counted.
        """

    def add_counts(self, counts: PackedCounts) -> None:
        """Add what was counted elsewhere."""

    def __len__(self) -> int:
        """How many distinct pretokens were counted so far."""

    def result(self) -> PackedCounts:
        """Everything counted so far, in no particular order."""

    def sort(self) -> None:
        """Put what was counted in ascending order; the only thing left to do with it is `sorted_result`."""

    def sorted_result(self, others: "Sequence[Self]") -> PackedCounts:
        """What this counter and others counted together, all of them sorted before."""


class Encoder(Protocol):
    """Encodes text; for one thread at a time, because it keeps what it has encoded."""

    def encode(self, text: Utf8, specials: "SpecialTokens") -> TokenIds:
        """The token ids of a text, special tokens recognised.

        Raises:
            UnicodeDecodeError: If it is not valid UTF-8.
            ValueError: If the vocabulary lacks a byte of it.
        """


class EncoderFactory(Protocol):
    """Makes encoders of one tokenizer; they share what they can."""

    def __call__(self, cache_entries: int) -> Encoder:
        """An encoder that remembers about `cache_entries` pretokens."""


class Joiner(Protocol):
    """Puts tokens one after another; for any number of threads."""

    def join(self, ids: NDArray[Any]) -> bytes:
        """The tokens of these ids, all of which must exist."""


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The type of the ids: uint16 if it holds them all, else uint32.

    Example:
        >>> id_dtype(65_536), id_dtype(65_537)
        (dtype('uint16'), dtype('uint32'))
    """
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def _core() -> "ctypes.CDLL | None":
    """The compiled core, ready to be called; None if pure Python serves."""
    if (library := load()) is None:
        return None
    from .native import declare

    return declare(library)


def new_counter(pattern: "Pattern", specials: "SpecialTokens") -> Counter:
    """A counter of pretokens."""
    if (core := _core()) is not None:
        from .native import NativeCounter

        return NativeCounter(core, pattern, specials)
    from .counting import PureCounter

    return PureCounter(pattern, specials)


def is_ascending(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> bool:
    """Whether each string is smaller than the next; they end at ascending `ends`, the last where `data` does.

    Example:
        >>> is_ascending(np.frombuffer(b"aab", np.uint8), np.array([1, 3]))
        True
        >>> is_ascending(np.frombuffer(b"aa", np.uint8), np.array([1, 2]))
        False
    """
    if (core := _core()) is not None:
        from .native import is_ascending as ascends

        return ascends(core, data, ends)
    from .counting import is_ascending as ascends_in_python

    return ascends_in_python(data, ends)


def learn_merges(
    counts: PackedCounts, num_merges: int, tie_break: str, progress: "Progress | None" = None
) -> list[tuple[bytes, bytes]]:
    """Learn merges from counted pretokens."""
    if (core := _core()) is not None:
        from .native_learn import learn_merges as learn

        return learn(core, *counts, num_merges, tie_break, progress)
    from .merges import learn_merges as learn_slowly

    return learn_slowly(*counts, num_merges, tie_break, progress)


def encoder_factory(
    byte_ids: Mapping[int, int], merges: "MergeTable", pattern: "Pattern", dtype: np.dtype[Any]
) -> EncoderFactory:
    """What makes encoders for one vocabulary."""
    if (core := _core()) is not None:
        from .native import NativeEncoder, native_merges

        shared = native_merges(core, byte_ids, merges)
        return lambda cache_entries: NativeEncoder(core, shared, pattern, dtype, cache_entries)
    from .encode import PureEncoder

    return lambda cache_entries: PureEncoder(
        byte_ids, merges, pattern, dtype, min(cache_entries, _PURE_CACHE_ENTRIES)
    )


def new_joiner(tokens: Sequence[bytes]) -> Joiner:
    """What joins tokens, whose ids are their indices."""
    if (core := _core()) is not None:
        from .native import NativeJoiner

        return NativeJoiner(core, tokens)
    from .decode import PureJoiner

    return PureJoiner(tokens)
