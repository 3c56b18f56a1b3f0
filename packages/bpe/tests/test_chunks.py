"""Text in pieces: the ids of the whole, and no more held than needed."""

import itertools
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_made import (
    SPECIALS,
    each_engine,
    texts,
    trained,
)


@each_engine
@settings(deadline=None, max_examples=100)
@given(text=texts, data=st.data())
def test_chunks_give_the_ids_of_the_whole_wherever_they_end(
    which: str, text: str, data: st.DataObject
) -> None:
    text = text * data.draw(st.sampled_from([1, 2, 30, 1_000]))
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in pairwise([0, *borders, len(text)])]
    pattern = data.draw(st.sampled_from(["gpt2", "cl100k", "o200k", r"[^ ]+e"]))
    specials = data.draw(st.sampled_from([tuple(SPECIALS[:4]), (" ", "<e>")]))
    tokenizer = trained(specials, which, pattern)
    assert list(tokenizer.encode_iterable(chunks)) == tokenizer.encode(text)


@each_engine
def test_an_endless_iterable_is_read_as_far_as_needed(which: str) -> None:
    num_read = 0

    def read() -> Any:
        nonlocal num_read
        for num_read in itertools.count(1):  # noqa: B007 - looked at outside
            yield "the cat "

    ids = trained(which=which).encode_iterable(read())
    assert trained().decode(itertools.islice(ids, 50)).startswith("the cat the cat ")
    assert num_read < 2_000


def test_of_a_long_string_only_a_little_is_turned_into_bytes_at_a_time() -> None:
    text = "the cat " * 100_000
    assert list(trained().encode_iterable(iter([text, text]))) == trained().encode(text * 2)
    with pytest.raises(ValueError, match="half a surrogate pair at position 800003"):
        list(trained().encode_iterable([text, "abc\ud800"]))


@each_engine
@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000 + "a", "abc" * 30_000])
def test_one_endless_word_is_no_trouble(which: str, text: str) -> None:
    tokenizer = trained(which=which)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert list(tokenizer.encode_iterable([text])) == ids
