"""The shortest trainer there is."""

from collections import Counter
from itertools import pairwise
from typing import Any

from hornbook.bpe.merges import byte_order

Merges = list[tuple[bytes, bytes]]


def naive_merges(words: dict[bytes, int], num_merges: int, rule: str = "greatest bytes") -> Merges:
    """Count every pair anew for each merge; tokens are their bytes."""
    split = {word: [bytes([value]) for value in word] for word in words}
    ids = {bytes([value]): number for value, number in enumerate(byte_order())}

    def rank(pair: tuple[bytes, bytes]) -> Any:
        return pair if rule == "greatest bytes" else (-ids[pair[0]], -ids[pair[1]])

    merges: Merges = []
    while len(merges) < num_merges:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], rank(pair)))
        merges.append(best)
        ids[best[0] + best[1]] = len(ids)
        for tokens in split.values():
            place = 0
            while place < len(tokens) - 1:
                if (tokens[place], tokens[place + 1]) == best:
                    tokens[place : place + 2] = [best[0] + best[1]]
                place += 1
    return merges
