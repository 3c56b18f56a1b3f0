"""Text in any form to token ids, from any number of threads."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .arguments import check_choice
from .cuts import SafeCuts, byte_blocks
from .engine import Encoder, EncoderFactory, TokenIds, encoder_factory, id_dtype
from .patterns import Pattern
from .special import SpecialTokens
from .stretches import Utf8
from .vocabulary import MergeTable

# The pretokens of a text are mostly the same few thousand.
_CACHE_ENTRIES = 3 << 18
# Strings that come one by one are encoded in small memory, and read no further ahead than this.
_SMALL_CACHE_ENTRIES = 1 << 12
_SMALL_BLOCK_BYTES = 1 << 12

# Up to here a list of new integers is made sooner than one of integers that are there.
_FEW_IDS = 256

# Strings longer than this are turned into UTF-8 piece by piece, so that a long one is never held twice.
_PIECE_CHARACTERS = 1 << 16

# Python's own way to keep bytes that are no UTF-8 in a str: byte 0x80 + n becomes the surrogate U+DC80 + n.
_INVALID_BYTES = re.compile("([\udc80-\udcff]+)")


class EncoderPool:
    """Lends encoders to threads: each serves one at a time, and there are as many as that takes.

    Args:
        factory: Makes the encoders.
        cache_entries: How many pretokens each remembers.
    """

    def __init__(self, factory: EncoderFactory, cache_entries: int) -> None:
        self._factory = factory
        self._cache_entries = cache_entries
        # The first is made now, so that encoding needs no memory for it later.
        self._idle: list[Encoder] = [factory(cache_entries)]

    def encode(self, text: Utf8, specials: SpecialTokens) -> TokenIds:
        """The token ids of a text; for any thread."""
        try:
            encoder = self._idle.pop()  # like append, atomic
        except IndexError:
            encoder = self._factory(self._cache_entries)
        try:
            return encoder.encode(text, specials)
        finally:
            self._idle.append(encoder)


class SpecialSets:
    """Sets of a tokenizer's special tokens, ready to be cut out of text.

    Args:
        ids: The id of each special token.
    """

    _MAX_SETS = 64  # that are kept; callers use a few, again and again

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = dict(ids)
        self.all = SpecialTokens(ids)
        self.none = SpecialTokens({})
        self._made: dict[frozenset[str], SpecialTokens] = {}

    def find(self, allowed_special: Collection[str]) -> SpecialTokens:
        """The set that `allowed_special` names: "all", or a collection of special tokens.

        Raises:
            TypeError: If it is no collection.
            ValueError: If it is another string, or holds what is no special token of the tokenizer.
        """
        if isinstance(allowed_special, str | bytes):
            if allowed_special == "all":
                return self.all
            msg = (
                "allowed_special must be 'all' or a collection of special tokens such as {'<|endoftext|>'},"
                f" got {allowed_special!r}"
            )
            raise ValueError(msg)
        if not isinstance(allowed_special, Collection):
            msg = f"allowed_special must be 'all' or a collection of special tokens, got {allowed_special!r}"
            raise TypeError(msg)
        try:
            wanted = frozenset(allowed_special)
        except TypeError:
            msg = f"allowed_special must hold special tokens, which are strings, got {allowed_special!r:.80}"
            raise TypeError(msg) from None
        if (made := self._made.get(wanted)) is not None:
            return made
        if unknown := [token for token in allowed_special if token not in self._ids]:
            msg = (
                f"{unknown[0]!r} in allowed_special is no special token of this tokenizer; it has"
                f" {sorted(self._ids)}"
            )
            raise ValueError(msg)
        if len(self._made) >= self._MAX_SETS:
            self._made.clear()
        made = SpecialTokens({token: token_id for token, token_id in self._ids.items() if token in wanted})
        return self._made.setdefault(wanted, made)


class TextEncoder:
    """Encodes text in every form that it comes in.

    Args:
        ids: The id of each ordinary token.
        merges: Of the tokenizer.
        pattern: Cuts text into pretokens.
        vocab_size: How many ids there are, special tokens included; decides their type.
    """

    def __init__(
        self, ids: Mapping[bytes, int], merges: MergeTable, pattern: Pattern, vocab_size: int
    ) -> None:
        self.vocab_size = vocab_size
        self._pattern = pattern
        self._dtype = id_dtype(vocab_size)
        self._byte_ids = {value: ids[byte] for value in range(256) if (byte := bytes([value])) in ids}
        factory = encoder_factory(self._byte_ids, merges, pattern, self._dtype)
        self._pool = EncoderPool(factory, _CACHE_ENTRIES)
        self._small_pool = EncoderPool(factory, _SMALL_CACHE_ENTRIES)

    def cuts(self, specials: SpecialTokens) -> SafeCuts:
        """Where text may be cut if these special tokens are recognised."""
        return SafeCuts(self._pattern, specials.ids)

    def encode_utf8(self, text: Utf8, specials: SpecialTokens) -> TokenIds:
        """The token ids of a text in UTF-8.

        Raises:
            UnicodeDecodeError: If it is not valid.
            ValueError: If the vocabulary lacks a byte of it.
        """
        return self._pool.encode(text, specials)

    def encode(self, text: str | bytes, specials: SpecialTokens, errors: str) -> TokenIds:
        """The token ids of one text; `Tokenizer.encode` says the rest."""
        check_choice("errors", errors, ("strict", "bytes"))
        return self.encode_part(utf8_of(text), specials, errors, 0)

    def encode_part(self, text: bytes, specials: SpecialTokens, errors: str, offset: int) -> TokenIds:
        """The token ids of a part of a text, which begins `offset` bytes after the text does."""
        try:
            return self.encode_utf8(text, specials)
        except UnicodeDecodeError as error:
            if errors == "strict":
                msg = (
                    f"the text is not valid UTF-8: byte 0x{text[error.start]:02x} at offset"
                    f" {offset + error.start}; errors='bytes' encodes such bytes one by one"
                )
                raise ValueError(msg) from None
        parts: list[TokenIds] = []
        for index, part in enumerate(_INVALID_BYTES.split(text.decode(errors="surrogateescape"))):
            if index % 2 == 0:
                parts.append(self.encode_utf8(part.encode(), specials))
            else:
                parts.append(self._encode_bytes(part.encode(errors="surrogateescape")))
        return np.concatenate(parts, dtype=self._dtype)

    def _encode_bytes(self, data: bytes) -> TokenIds:
        """Each byte as its own token."""
        try:
            return np.array([self._byte_ids[value] for value in data], self._dtype)
        except KeyError as error:
            msg = f"byte 0x{error.args[0]:02x} is not in the vocabulary"
            raise ValueError(msg) from None

    def to_list(self, ids: TokenIds) -> list[int]:
        """The ids as a list; a long one refers to integers that exist, in half the time of making them."""
        if len(ids) <= _FEW_IDS:
            small: list[int] = ids.tolist()
            return small
        numbers: list[int] = self._integers[ids].tolist()
        return numbers

    @cached_property
    def _integers(self) -> NDArray[np.object_]:
        integers = np.empty(self.vocab_size, object)
        integers[:] = range(self.vocab_size)
        return integers

    def encode_chunks(self, chunks: Iterable[str], specials: SpecialTokens) -> Iterator[int]:
        """The token ids of the joined strings; `Tokenizer.encode_iterable` says the rest."""
        utf8 = _chunks_to_utf8([chunks] if isinstance(chunks, str) else chunks)
        for block in byte_blocks(utf8, self.cuts(specials), _SMALL_BLOCK_BYTES):
            yield from self.to_list(self._small_pool.encode(block, specials))


def utf8_of(text: str | bytes) -> bytes:
    """The text in UTF-8, if that is what it is: bytes aren't looked at.

    Raises:
        TypeError: If it is neither str nor bytes.
        ValueError: If there is half a surrogate pair; its position is named.
    """
    if isinstance(text, str):
        return _to_utf8(text, 0)
    if isinstance(text, bytes):
        return text
    msg = f"text must be str or bytes, got {type(text).__name__}"
    raise TypeError(msg)


def _to_utf8(text: str, position: int) -> bytes:
    """The text in UTF-8.

    Args:
        text: Characters.
        position: How many characters came before them.

    Raises:
        ValueError: If there is half a surrogate pair; its position is named.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        position += error.start
        msg = f"the text has half a surrogate pair at position {position}, which UTF-8 cannot express"
        raise ValueError(msg) from None


def _chunks_to_utf8(chunks: Iterable[str]) -> Iterator[bytes]:
    """The strings of a text in UTF-8, a little at a time.

    Raises:
        TypeError: If one is no string.
        ValueError: If there is half a surrogate pair; its position counts from the first string.
    """
    position = 0
    for index, chunk in enumerate(chunks):
        if not isinstance(chunk, str):
            msg = f"encode_iterable takes strings, item {index} is {type(chunk).__name__}"
            raise TypeError(msg)
        for start in range(0, len(chunk), _PIECE_CHARACTERS):
            piece = chunk[start : start + _PIECE_CHARACTERS]
            yield _to_utf8(piece, position)
            position += len(piece)
