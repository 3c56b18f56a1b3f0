"""Ids back to text."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import StreamDecoder, Tokenizer
from tokenizers_made import BYTES, trained


@settings(deadline=None)
@given(st.lists(st.integers(0, trained().vocab_size - 1)))
def test_decoding_one_by_one_gives_the_same_text_and_never_half_a_character(ids: list[int]) -> None:
    decoder = StreamDecoder(trained())
    parts = [*map(decoder.push, ids), decoder.finish()]
    assert "".join(parts) == trained().decode(ids)
    assert decoder.finish() == ""


def test_a_stream_waits_for_the_rest_of_a_character() -> None:
    decoder = StreamDecoder(Tokenizer(BYTES, []))
    assert [decoder.push(value) for value in "🙂a".encode()] == ["", "", "", "🙂", "a"]
    assert decoder.push(0xF0) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.push(ord("b")) == "b"


def test_malformed_bytes_decode_to_the_replacement_character() -> None:
    tokenizer = Tokenizer(BYTES, [])
    assert tokenizer.decode([0x61, 0xE6, 0x97, 0x62]) == "a\ufffdb"
    assert tokenizer.decode_bytes([0xE6, 0x97]) == b"\xe6\x97"
    assert tokenizer.decode([0x61, 0xE6], errors="ignore") == "a"
    assert tokenizer.decode([0x61, 0xE6], errors="backslashreplace") == r"a\xe6"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode([0x61, 0xE6], errors="strict")
    with pytest.raises(ValueError, match="errors must be one of 'replace', 'strict'"):
        tokenizer.decode([0x61], errors="bytes")


def test_ids_of_numpy_and_iterators_decode() -> None:
    assert Tokenizer(BYTES, []).decode(np.array([104, 105], np.uint16)) == "hi"
    assert Tokenizer(BYTES, []).decode(iter([104, 105])) == "hi"


@pytest.mark.parametrize("before", [1, 10_000])
@pytest.mark.parametrize("token_id", [256, -1, 10**30])
def test_an_unknown_id_is_named(token_id: int, before: int) -> None:
    message = f"token id {token_id} is not in the vocabulary of 256 tokens"
    ids = [97] * before + [token_id]
    for given_as in (ids, iter(ids), *([np.array(ids)] if token_id < 10**30 else [])):
        with pytest.raises(ValueError, match=message):
            Tokenizer(BYTES, []).decode(given_as)
    decoder = StreamDecoder(Tokenizer(BYTES, []))
    with pytest.raises(ValueError, match=message):
        decoder.push(token_id)


@pytest.mark.parametrize("before", [0, 10_000])
@pytest.mark.parametrize("bad", ["a", 1.0, None, [1], True, np.True_, np.float32(1), np.array([1, 2])])
def test_ids_that_are_no_integers_are_refused(bad: Any, before: int) -> None:
    with pytest.raises(TypeError, match="ids must be integers, got"):
        Tokenizer(BYTES, []).decode([97] * before + [bad])


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros(3, bool), np.zeros((2, 2), int), np.array(3)])
def test_arrays_that_are_no_row_of_integers_are_refused(array: Any) -> None:
    with pytest.raises(TypeError, match="ids must be integers in one dimension, got an array of"):
        Tokenizer(BYTES, []).decode(array)


@settings(deadline=None)
@given(st.lists(st.integers(0, trained().vocab_size - 1), max_size=50), st.sampled_from([1, 40, 100]))
def test_lists_arrays_and_iterators_decode_alike(ids: list[int], times: int) -> None:
    ids = ids * times
    expected = b"".join(trained().vocab[token_id] for token_id in ids)
    for given_as in (
        ids,
        tuple(ids),
        iter(ids),
        np.array(ids, np.uint16),
        np.array(ids, np.int64),
        list(np.array(ids)),
    ):
        assert trained().decode_bytes(given_as) == expected
