"""Learn merges from counted words: the core of byte-pair encoding (Sennrich et al. 2016)."""

import heapq
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import TIE_BREAKS, check_choice
from .progress import Progress

_Pair = tuple[int, int]

_NO_TOKEN = -1  # between words, and where a token was swallowed by its left neighbour
_COMPLEMENT = bytes(range(255, -1, -1))
_MOST_BYTES = 2.0**62
GREATEST_BYTES = 0


def learn_merges(
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    counts: NDArray[np.int64],
    num_merges: int,
    tie_break: str = "greatest bytes",
    progress: Progress | None = None,
) -> list[tuple[bytes, bytes]]:
    """Merge the most frequent pair of neighbouring tokens, `num_merges` times or until no pair is left.

    All words lie in one row of token ids with links to the living neighbours, and each pair knows the places
    where it was seen, so that a merge costs only its own occurrences, however long a word is. The heap is
    corrected lazily: the count of a pair only falls once its two tokens exist, so an entry at worst comes up
    too early, and is then put back under its true count.

    Args:
        data: All words, one after another. Merges do not cross words.
        ends: Where in `data` each word ends.
        counts: How often each word occurs, at least once.
        num_merges: The most merges to learn.
        tie_break: Which of the pairs equally frequent is merged: "greatest bytes", the lexicographically
            greater pair of token bytes; or "smallest ids", the pair of smaller token ids, the left one first,
            where bytes are numbered as by Hugging Face's trainers (see `byte_order`) and merges follow. Those
            trainers learn the same merges, unless a special token spells a token: then it lends it its id.
        progress: Called with stage "merge".

    Raises:
        ValueError: If a count is below 1, the pairs are too many to be counted or the rule is unknown.

    Example:
        >>> words = pack_words({b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6})
        >>> learn_merges(*words, 4)
        [(b's', b't'), (b'e', b'st'), (b'o', b'w'), (b'l', b'ow')]
        >>> learn_merges(*words, 2, "smallest ids")
        [(b'e', b's'), (b'es', b't')]
    """
    check_words(ends, counts)
    is_by_bytes = check_tie_break(tie_break) == GREATEST_BYTES
    tokens = [bytes([value]) for value in range(256)]
    heap_keys: list[Any] = [_greater_first(token) for token in tokens] if is_by_bytes else byte_order()
    row, weights = _lay_out(data, ends, counts)
    pair_counts, places = _count_pairs(row, weights)
    symbols = array("q", row.tobytes())
    weight_of = array("q", weights.tobytes())
    following = array("q", range(1, len(symbols) + 1))
    preceding = array("q", range(-1, len(symbols) - 1))
    heap = [(-count, heap_keys[a], heap_keys[b], (a, b)) for (a, b), count in pair_counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[bytes, bytes]] = []

    while heap and len(merges) < num_merges:
        entry = heapq.heappop(heap)
        pair = first, second = entry[3]
        count = pair_counts[pair]
        if count != -entry[0]:
            if count:
                heapq.heappush(heap, (-count, *entry[1:]))
            else:
                del pair_counts[pair], places[pair]
            continue

        merged = len(tokens)
        merges.append((tokens[first], tokens[second]))
        tokens.append(tokens[first] + tokens[second])
        heap_keys.append(_greater_first(tokens[merged]) if is_by_bytes else merged)
        new_places: dict[_Pair, array[int]] = {}
        for place in places.pop(pair).tolist():  # from left to right: "aaa" becomes "aa", "a"
            gone = following[place]
            if symbols[place] != first or symbols[gone] != second:
                continue  # an earlier merge, or the one to the left, took one of the two
            weight = weight_of[place]
            before, after = preceding[place], following[gone]
            left, right = symbols[before], symbols[after]
            symbols[place] = merged
            symbols[gone] = _NO_TOKEN
            following[place] = after
            preceding[after] = place
            if left != _NO_TOKEN:
                pair_counts[left, first] -= weight
                new_pair = (left, merged)
                pair_counts[new_pair] = pair_counts.get(new_pair, 0) + weight
                new_places.setdefault(new_pair, array("q")).append(before)
            if right != _NO_TOKEN:
                pair_counts[second, right] -= weight
                new_pair = (merged, right)
                pair_counts[new_pair] = pair_counts.get(new_pair, 0) + weight
                new_places.setdefault(new_pair, array("q")).append(place)
        del pair_counts[pair]
        for new_pair, found in new_places.items():
            a, b = new_pair
            if count := pair_counts[new_pair]:
                places[new_pair] = found
                heapq.heappush(heap, (-count, heap_keys[a], heap_keys[b], new_pair))
            else:
                del pair_counts[new_pair]
        if progress is not None and len(merges) % 100 == 0 and len(merges) < num_merges:
            progress("merge", len(merges), num_merges)
    if progress is not None:
        progress("merge", len(merges), num_merges)
    return merges


def pack_words(
    word_counts: Mapping[bytes, int],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Words with their counts as `learn_merges` takes them.

    Example:
        >>> data, ends, counts = pack_words({b"low": 5, b"er": 2})
        >>> data.tobytes(), ends.tolist(), counts.tolist()
        (b'lower', [3, 5], [5, 2])
    """
    lengths = np.fromiter(map(len, word_counts), np.int64, len(word_counts))
    counts = np.fromiter(word_counts.values(), np.int64, len(word_counts))
    return np.frombuffer(b"".join(word_counts), np.uint8), np.cumsum(lengths), counts


def check_words(ends: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Refuse counts that cannot be, or that 64 bits cannot sum.

    Raises:
        ValueError: If they are.
    """
    if not len(counts):
        return
    fewest = int(counts.min())
    if fewest < 1:
        msg = f"counts must be at least 1, got {fewest}"
        raise ValueError(msg)
    # Not np.dot: for so little it would wake the threads of a BLAS.
    num_bytes = float((np.diff(ends, prepend=0) * counts.astype(np.float64)).sum())
    if num_bytes > _MOST_BYTES:
        msg = f"the words stand for {num_bytes:.3g} bytes of text; at most 2**62 can be counted"
        raise ValueError(msg)


def check_tie_break(tie_break: str) -> int:
    """The number of a rule for ties, as the compiled core knows it.

    Raises:
        ValueError: If there is no such rule.
    """
    check_choice("tie_break", tie_break, TIE_BREAKS)
    return TIE_BREAKS.index(tie_break)


def byte_order() -> list[int]:
    """The number of each byte in Hugging Face's trainers, special tokens apart.

    They number bytes in the order of the characters that stand for them: printable ones of Latin-1 stand for
    themselves, then come the other bytes, as characters from U+0100 on.

    Example:
        >>> order = byte_order()
        >>> [order[byte] for byte in b"!~"], order[0xFF], order[0], order[ord(" ")]
        ([0, 93], 187, 188, 220)
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0x100)} - {0xAD}
    ordered = sorted(range(256), key=lambda value: (value not in printable, value))
    return sorted(range(256), key=ordered.__getitem__)


def _greater_first(token: bytes) -> str:
    """A key that sorts tokens in descending order; no key is a prefix of another.

    Complementing the bytes turns the order round; the end mark, above all of them, puts b"ab" before b"a".
    """
    return token.translate(_COMPLEMENT).decode("latin-1") + "\u0100"


def _lay_out(
    data: NDArray[np.uint8], ends: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of all words in one row, `_NO_TOKEN` around each word; and each place's word count."""
    lengths = np.diff(ends, prepend=0)
    index = np.arange(len(data)) + np.repeat(np.arange(len(lengths)), lengths) + 1
    row = np.full(len(data) + len(lengths) + 1, _NO_TOKEN, np.int64)
    row[index] = data
    weights = np.zeros_like(row)
    weights[index] = np.repeat(counts, lengths)
    return row, weights


def _count_pairs(
    row: NDArray[np.int64], weights: NDArray[np.int64]
) -> tuple[dict[_Pair, int], dict[_Pair, "array[int]"]]:
    """How often each pair of bytes occurs, and the places of its first byte in ascending order."""
    spots = np.flatnonzero((row[:-1] != _NO_TOKEN) & (row[1:] != _NO_TOKEN))
    codes = (row[spots] * 256 + row[spots + 1]).astype(np.uint16)
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    spots = spots[order]
    totals = np.add.reduceat(weights[spots], starts) if len(spots) else weights[:0]
    pairs = [divmod(code, 256) for code in found.tolist()]
    groups = (array("q", group.tobytes()) for group in np.split(spots, starts[1:]))
    return dict(zip(pairs, totals.tolist(), strict=True)), dict(zip(pairs, groups, strict=False))
