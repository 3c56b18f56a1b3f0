"""The patterns of tiktoken: the same regexes, and in tiktoken's own engine the same pretokens."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe.patterns import find_pattern

tiktoken = pytest.importorskip("tiktoken")

# What differs between versions of Unicode stays out: tiktoken has its own.
FRAGMENTS = [
    *["a", "B", "é", "ǅ", "日", "ʰ", "\u0301", "7", "½", "٣", "'s", "'LL", "'\u017f", "'", "!", "。", "/"],
    *[" ", " ", "  ", "\n", "\r\n", "\r", "\t", "\x0b", "\x85", "\xa0", "\u2009", "\u200b", "\0", "🙂"],
]


@pytest.mark.parametrize(("name", "encoding"), [("cl100k", "cl100k_base"), ("o200k", "o200k_base")])
def test_the_patterns_are_those_of_tiktoken(
    name: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai = pytest.importorskip("tiktoken_ext.openai_public")
    monkeypatch.setattr(openai, "load_tiktoken_bpe", lambda *_, **__: {})  # it would fetch the vocabulary
    assert find_pattern(name).regex == getattr(openai, encoding)()["pat_str"]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join),
    st.sampled_from(["gpt2", "cl100k", "o200k"]),
)
def test_tiktokens_engine_cuts_the_same_pretokens(text: str, name: str) -> None:
    # With every part of the text in the vocabulary, shorter ones first, each pretoken becomes one token.
    data = text.encode()
    parts = {data[start:end] for start, end in combinations(range(len(data) + 1), 2)}
    tokens = sorted(parts | {bytes([value]) for value in range(256)}, key=lambda token: (len(token), token))
    ranks = {token: rank for rank, token in enumerate(tokens)}
    pattern = find_pattern(name)
    encoding = tiktoken.Encoding(name, pat_str=pattern.regex, mergeable_ranks=ranks, special_tokens={})
    cut = [token.decode() for token in encoding.decode_tokens_bytes(encoding.encode_ordinary(text))]
    assert pattern.split(text) == cut
