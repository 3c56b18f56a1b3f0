"""Chooses who does the work: the compiled core where there is one, else pure Python."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .library import load

if TYPE_CHECKING:
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

    def add_text(self, block: bytes) -> None:
        """Count the pretokens of valid UTF-8 between special tokens."""

    def add_counts(self, counts: PackedCounts) -> None:
        """Add what was counted elsewhere."""

    def __len__(self) -> int:
        """How many distinct pretokens were counted so far."""

    def result(self) -> PackedCounts:
        """Everything counted so far, in no particular order."""


class Encoder(Protocol):
    """Encodes text; for one thread at a time, because it keeps what it has encoded."""

    def encode(self, text: bytes, specials: "SpecialTokens") -> TokenIds:
        """The token ids of valid UTF-8, special tokens recognised.

        Raises:
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


def new_counter(pattern: "Pattern", specials: "SpecialTokens") -> Counter:
    """A counter of pretokens."""
    if (library := load()) is not None:
        from .native import NativeCounter, declare

        return NativeCounter(declare(library), pattern, specials)
    from .counting import PureCounter

    return PureCounter(pattern, specials)


def learn_merges(
    counts: PackedCounts, num_merges: int, tie_break: str, progress: "Progress | None" = None
) -> list[tuple[bytes, bytes]]:
    """Learn merges from counted pretokens."""
    if (library := load()) is not None:
        from .native import declare
        from .native_learn import learn_merges as learn

        return learn(declare(library), *counts, num_merges, tie_break, progress)
    from .merges import learn_merges as learn_slowly

    return learn_slowly(*counts, num_merges, tie_break, progress)


def encoder_factory(
    byte_ids: Mapping[int, int], merges: "MergeTable", pattern: "Pattern", dtype: np.dtype[Any]
) -> EncoderFactory:
    """What makes encoders for one vocabulary."""
    if (library := load()) is not None:
        from .native import NativeEncoder, declare, native_merges

        declare(library)
        shared = native_merges(library, byte_ids, merges)
        return lambda cache_entries: NativeEncoder(library, shared, pattern, dtype, cache_entries)
    from .encode import PureEncoder

    return lambda cache_entries: PureEncoder(
        byte_ids, merges, pattern, dtype, min(cache_entries, _PURE_CACHE_ENTRIES)
    )


def new_encoder(
    byte_ids: Mapping[int, int],
    merges: "MergeTable",
    pattern: "Pattern",
    dtype: np.dtype[Any],
    cache_entries: int,
) -> Encoder:
    """An encoder that remembers about `cache_entries` pretokens."""
    return encoder_factory(byte_ids, merges, pattern, dtype)(cache_entries)


def new_joiner(tokens: Sequence[bytes]) -> Joiner:
    """What joins tokens, whose ids are their indices."""
    if (library := load()) is not None:
        from .native import NativeJoiner, declare

        return NativeJoiner(declare(library), tokens)
    from .decode import PureJoiner

    return PureJoiner(tokens)


def valid_prefix(text: bytes) -> int:
    """How many bytes at the start of `text` are valid UTF-8.

    Example:
        >>> valid_prefix("né".encode()[:-1])
        1
    """
    if (library := load()) is not None:
        from .native import declare

        length: int = declare(library).hb_valid_prefix(text, len(text))
        return length
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(text)
