"""Turn pretokens into token ids by applying merges."""

import heapq
from array import array
from collections.abc import Mapping
from itertools import pairwise

_NO_MERGE = 1 << 62

# Up to here a linear search for the next merge is faster than a heap.
_SHORT_BYTES = 48


class PretokenEncoder:
    """Encodes one pretoken: again and again, of all neighbours that have a merge, join those of the earliest.

    Args:
        byte_ids: The token id of each single byte; a byte may be missing.
        merges: For a pair of token ids, the rank of its merge and the id of the product.
    """

    def __init__(
        self, byte_ids: Mapping[int, int], merges: Mapping[tuple[int, int], tuple[int, int]]
    ) -> None:
        self._byte_ids = byte_ids
        self._ranks = {pair: rank for pair, (rank, _) in merges.items()}
        self._products = dict(merges.values())

    def encode(self, pretoken: bytes) -> list[int]:
        """The token ids of `pretoken`.

        Raises:
            ValueError: If a byte of it is not in the vocabulary.
        """
        try:
            ids = [self._byte_ids[value] for value in pretoken]
        except KeyError as error:
            msg = f"byte 0x{error.args[0]:02x} of {pretoken[:40]!r} is not in the vocabulary"
            raise ValueError(msg) from None
        return self.merge_short(ids) if len(ids) <= _SHORT_BYTES else self.merge_long(ids)

    def merge_short(self, ids: list[int]) -> list[int]:
        """Apply all merges by searching for each: quadratic, but with a small factor."""
        rank_of = self._ranks.get
        ranks = [rank_of(pair, _NO_MERGE) for pair in pairwise(ids)]
        while ranks and (best := min(ranks)) != _NO_MERGE:
            index = ranks.index(best)
            ids[index : index + 2] = [self._products[best]]
            del ranks[index]
            if index > 0:
                ranks[index - 1] = rank_of((ids[index - 1], ids[index]), _NO_MERGE)
            if index < len(ranks):
                ranks[index] = rank_of((ids[index], ids[index + 1]), _NO_MERGE)
        return ids

    def merge_long(self, ids: list[int]) -> list[int]:
        """Apply all merges with a heap of candidates and links between neighbours: n log n."""
        size = len(ids)
        ranks, products = self._ranks, self._products
        following = array("q", range(1, size + 1))
        preceding = array("q", range(-1, size - 1))
        # One integer, rank * size + place, orders by rank and then from left to right.
        heap = [
            rank * size + place
            for place, pair in enumerate(pairwise(ids))
            if (rank := ranks.get(pair)) is not None
        ]
        heapq.heapify(heap)
        while heap:
            rank, place = divmod(heapq.heappop(heap), size)
            gone = following[place]
            if gone == size or ranks.get((ids[place], ids[gone])) != rank:
                continue  # one of the two went into another merge
            after = following[gone]
            ids[place] = products[rank]
            ids[gone] = -1  # no pair with it has a rank
            following[place] = after
            if after < size:
                preceding[after] = place
                if (rank := ranks.get((ids[place], ids[after]), -1)) >= 0:
                    heapq.heappush(heap, rank * size + place)
            before = preceding[place]
            if before >= 0 and (rank := ranks.get((ids[before], ids[place]), -1)) >= 0:
                heapq.heappush(heap, rank * size + before)
        return [token_id for token_id in ids if token_id >= 0]


class PretokenCache(dict[str, bytes]):
    """Pretoken or special token -> its ids, packed as an array of `typecode`; what it lacks, it encodes.

    Looking up a pretoken thus costs one access to a dict, in C. The cache starts anew when full.
    """

    def __init__(
        self, encoder: PretokenEncoder, special_ids: Mapping[str, int], typecode: str, max_entries: int
    ) -> None:
        self._encoder = encoder
        self._special_ids = special_ids
        self._typecode = typecode
        self._max_entries = max_entries

    def __missing__(self, pretoken: str) -> bytes:
        # A special token is cut out wherever it occurs, so no pretoken is ever spelled like one.
        special_id = self._special_ids.get(pretoken)
        ids = self._encoder.encode(pretoken.encode()) if special_id is None else [special_id]
        packed = array(self._typecode, ids).tobytes()
        if len(self) >= self._max_entries:
            self.clear()
        if len(pretoken) <= _SHORT_BYTES:  # long ones are rare and would make the bound worthless
            self[pretoken] = packed
        return packed
