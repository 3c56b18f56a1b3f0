"""Encode in pure Python: what the compiled core is tested against, and what serves where there is none."""

import heapq
from array import array
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from .cuts import SafeCuts, byte_blocks
from .engine import TokenIds
from .patterns import Pattern
from .special import SpecialTokens
from .stretches import Utf8
from .vocabulary import MergeTable

# Up to here a linear search for the next merge is faster than a heap.
_SHORT_BYTES = 48

# Small, because one letter outside ASCII sends a whole block to the slower pattern.
_BLOCK_BYTES = 1 << 11

_NO_MERGE = (1 << 62, -1)


class PureEncoder:
    """Turns UTF-8 into token ids; for one thread at a time, because it remembers pretokens.

    Args:
        byte_ids: The token id of each single byte; a byte may be missing.
        merges: For a pair of token ids, the rank of its merge and the id of the product.
        pattern: Cuts text into pretokens.
        dtype: Of the ids, uint16 or uint32.
        cache_entries: How many pretokens to remember, about 150 bytes each; then it starts anew.
    """

    def __init__(
        self,
        byte_ids: Mapping[int, int],
        merges: MergeTable,
        pattern: Pattern,
        dtype: np.dtype[Any],
        cache_entries: int,
    ) -> None:
        self._pattern = pattern
        self._dtype = dtype
        self._cache = _PretokenCache(PretokenEncoder(byte_ids, merges), dtype.char, cache_entries)
        self._cuts: tuple[SpecialTokens, SafeCuts] | None = None

    def encode(self, text: Utf8, specials: SpecialTokens) -> TokenIds:
        """The token ids of valid UTF-8, special tokens recognised.

        Raises:
            ValueError: If the vocabulary lacks a byte of it.
        """
        ids_of, split = self._cache.__getitem__, self._pattern.split
        packed: list[bytes] = []
        for block in byte_blocks([bytes(text)], self._cuts_for(specials), _BLOCK_BYTES):
            for index, part in enumerate(specials.split(block.decode())):
                if index % 2 == 0:
                    packed += map(ids_of, split(part))
                else:
                    packed.append(self._dtype.type(specials.ids[part]).tobytes())
        return np.frombuffer(bytearray().join(packed), self._dtype)  # writable, as torch wants it

    def _cuts_for(self, specials: SpecialTokens) -> SafeCuts:
        if self._cuts is None or self._cuts[0] is not specials:
            self._cuts = (specials, SafeCuts(self._pattern, specials.ids))
        return self._cuts[1]


class _PretokenCache(dict[str, bytes]):
    """Pretoken -> its ids, packed as an array of `typecode`; what it lacks, it encodes.

    Looking up a pretoken thus costs one access to a dict, in C. The cache starts anew when full.
    """

    def __init__(self, encoder: "PretokenEncoder", typecode: str, max_entries: int) -> None:
        self._encode: Callable[[bytes], list[int]] = encoder.encode
        self._typecode = typecode
        self._max_entries = max_entries

    def __missing__(self, pretoken: str) -> bytes:
        packed = array(self._typecode, self._encode(pretoken.encode())).tobytes()
        if len(self) >= self._max_entries:
            self.clear()
        if len(pretoken) <= _SHORT_BYTES:  # long ones are rare and would make the bound worthless
            self[pretoken] = packed
        return packed


class PretokenEncoder:
    """Encodes one pretoken: again and again, of all neighbours that have a merge, join those of the earliest.

    Args:
        byte_ids: The token id of each single byte; a byte may be missing.
        merges: For a pair of token ids, the rank of its merge and the id of the product.
    """

    def __init__(self, byte_ids: Mapping[int, int], merges: MergeTable) -> None:
        self._byte_ids = byte_ids
        self._merges = merges

    def encode(self, pretoken: bytes) -> list[int]:
        """The token ids of `pretoken`.

        Raises:
            ValueError: If a byte of it is not in the vocabulary.
        """
        try:
            ids = [self._byte_ids[value] for value in pretoken]
        except KeyError as error:
            msg = f"byte 0x{error.args[0]:02x} is not in the vocabulary"
            raise ValueError(msg) from None
        return self.merge_short(ids) if len(ids) <= _SHORT_BYTES else self.merge_long(ids)

    def merge_short(self, ids: list[int]) -> list[int]:
        """Apply all merges by searching for each: quadratic, but with a small factor."""
        find = self._merges.get
        merges = [find(pair, _NO_MERGE) for pair in pairwise(ids)]
        while merges and (best := min(merges)) is not _NO_MERGE:
            index = merges.index(best)
            ids[index : index + 2] = [best[1]]
            del merges[index]
            if index > 0:
                merges[index - 1] = find((ids[index - 1], ids[index]), _NO_MERGE)
            if index < len(merges):
                merges[index] = find((ids[index], ids[index + 1]), _NO_MERGE)
        return ids

    def merge_long(self, ids: list[int]) -> list[int]:
        """Apply all merges with a heap of candidates and links between neighbours: n log n."""
        size = len(ids)
        find = self._merges.get
        following = array("q", range(1, size + 1))
        preceding = array("q", range(-1, size - 1))
        # One integer, rank * size + place, orders by rank and then from left to right.
        heap = [
            merge[0] * size + place
            for place, pair in enumerate(pairwise(ids))
            if (merge := find(pair)) is not None
        ]
        heapq.heapify(heap)
        while heap:
            rank, place = divmod(heapq.heappop(heap), size)
            gone = following[place]
            if gone == size or (merge := find((ids[place], ids[gone]))) is None or merge[0] != rank:
                continue  # one of the two went into another merge
            after = following[gone]
            ids[place] = merge[1]
            ids[gone] = -1  # no pair with it has a merge
            following[place] = after
            if after < size:
                preceding[after] = place
                if (merge := find((ids[place], ids[after]))) is not None:
                    heapq.heappush(heap, merge[0] * size + place)
            before = preceding[place]
            if before >= 0 and (merge := find((ids[before], ids[place]))) is not None:
                heapq.heappush(heap, merge[0] * size + before)
        return [token_id for token_id in ids if token_id >= 0]
