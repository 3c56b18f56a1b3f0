"""Tokenizers to test with, trained and applied in the simplest way there is."""

import random
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer, engine
from hornbook.bpe.library import load
from hornbook.bpe.patterns import find_pattern

BYTES = {value: bytes([value]) for value in range(256)}
SPECIALS = ["<e>", "<e><e>", "b c", "é日", " "]
FRAGMENTS = ["the ", "cat", "aaa", "ab", "é", "日", "🙂", "\0", "\ufeff", "\r\n", "  ", "'s", "42", "!?"]
texts = st.lists(st.sampled_from([*FRAGMENTS, *SPECIALS, "<e", "b "])).map("".join) | st.text()

# Whatever has no compiled core is tested in pure Python alone.
ENGINES = ["pure", "core"] if load() is not None else ["pure"]
each_engine = pytest.mark.parametrize("which", ENGINES)


def build(which: str, *arguments: Any, **keywords: Any) -> Tokenizer:
    """A tokenizer that works with one of the engines."""
    with pytest.MonkeyPatch.context() as patch:
        if which == "pure":
            patch.setattr(engine, "load", lambda: None)
        return Tokenizer(*arguments, **keywords)


@cache
def trained(
    specials: tuple[str, ...] = tuple(SPECIALS[:4]), which: str = "pure", pattern: str = "gpt2"
) -> Tokenizer:
    """A tokenizer of 256 bytes, 200 merges and these special tokens."""
    merges = naive_merges(200)
    tokens = [*BYTES.values(), *(left + right for left, right in merges)]
    return build(which, dict(enumerate(tokens)), merges, specials, pattern=pattern)


@cache
def naive_merges(num_merges: int) -> list[tuple[bytes, bytes]]:
    """Merges of a text of the fragments, no two of which make the same token."""
    draw = random.Random(0)
    text = "".join(draw.choices(FRAGMENTS, k=3_000)) + "".join(draw.choices("abc", k=500))
    words = [[bytes([value]) for value in word.encode()] for word in set(find_pattern("gpt2").split(text))]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < num_merges:
        counts = Counter(pair for word in words for pair in pairwise(word))
        counts = Counter(
            {pair: n for pair, n in counts.items() if b"".join(pair) not in map(b"".join, merges)}
        )
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for word in words:
            apply_merge(word, best)
    return merges


def apply_merge(tokens: list[bytes], merge: tuple[bytes, bytes]) -> None:
    """Join each such pair of neighbours, from the left."""
    place = 0
    while place < len(tokens) - 1:
        if (tokens[place], tokens[place + 1]) == merge:
            tokens[place : place + 2] = [merge[0] + merge[1]]
        place += 1


def naive_encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Apply each merge in turn to the whole pretoken, as it was done in training."""
    ids = {token: token_id for token_id, token in tokenizer.vocab.items()}
    result, ordinary, place = [], "", 0
    while place <= len(text):
        here = max((s for s in tokenizer.special_tokens if text.startswith(s, place)), key=len, default="")
        if not here and place < len(text):
            ordinary += text[place]
            place += 1
            continue
        for pretoken in find_pattern(tokenizer.pattern).split(ordinary):
            tokens = [bytes([value]) for value in pretoken.encode()]
            for merge in tokenizer.merges:
                apply_merge(tokens, merge)
            result += [ids[token] for token in tokens]
        result += [ids[here.encode()]] if here else []
        ordinary = ""
        place += len(here) or 1
    return result
