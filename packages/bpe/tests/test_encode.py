"""Encoding: the ids, whichever way they are asked for."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer
from hornbook.bpe.encode import PretokenEncoder
from hornbook.bpe.vocabulary import merge_table
from tokenizers_made import BYTES, SPECIALS, build, each_engine, naive_encode, texts, trained

blobs = (
    st.lists(
        st.sampled_from(
            [b"the ", "é日🙂".encode(), b"\xff", b"\xe6\x97", b"\xed\xa0\x80", b"<e>", b"<e", b"\0"]
        )
    ).map(b"".join)
    | st.binary()
)


@each_engine
@pytest.mark.parametrize("specials", [(), ("<e>", "<e><e>", "b c", "é日"), (" ", "a", "<e>\n", "aa")])
@settings(deadline=None, max_examples=100)
@given(text=texts)
def test_encoding_agrees_with_applying_every_merge_in_turn(
    which: str, specials: tuple[str, ...], text: str
) -> None:
    tokenizer = trained(specials, which)
    assert tokenizer.encode(text) == naive_encode(tokenizer, text)


@each_engine
@settings(deadline=None)
@given(text=texts)
def test_every_way_of_encoding_gives_the_same_ids_and_decoding_the_text(which: str, text: str) -> None:
    for pattern in ("gpt2", "cl100k", r"[a-z]+|\d"):
        tokenizer = trained(which=which, pattern=pattern)
        ids = tokenizer.encode(text)
        array = tokenizer.encode_to_numpy(text)
        assert array.tolist() == tokenizer.encode(text.encode()) == ids
        assert list(tokenizer.encode_iterable([text])) == ids
        assert tokenizer.encode_batch([text, "", text], num_threads=2) == [ids, [], ids]
        assert tokenizer.decode(ids) == tokenizer.decode(array, errors="strict") == text
        array[:1] = 0  # writable, so that torch.from_numpy takes it without a warning


@each_engine
@settings(deadline=None)
@given(data=blobs)
def test_any_bytes_come_back_if_invalid_ones_may_stand_for_themselves(which: str, data: bytes) -> None:
    tokenizer = trained(which=which)
    ids = tokenizer.encode(data, errors="bytes")
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode_bytes(np.array(ids, np.uint16)) == data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"byte 0x{data[error.start]:02x} at offset {error.start}; errors='bytes'"
        with pytest.raises(ValueError, match=message):
            tokenizer.encode(data)
    else:
        assert ids == tokenizer.encode(text)


@each_engine
def test_valid_stretches_between_invalid_bytes_are_texts_of_their_own(which: str) -> None:
    tokenizer = trained(which=which)
    parts = [tokenizer.encode("the cat<e>"), [0xE6, 0x97], tokenizer.encode(" the"), [0xFF, 0xFF]]
    data = b"the cat<e>\xe6\x97 the\xff\xff"
    assert tokenizer.encode(data, errors="bytes") == list(itertools.chain(*parts))
    assert tokenizer.encode_ordinary(data, errors="bytes")[: len(parts[0])] != parts[0]


@each_engine
@settings(deadline=None, max_examples=50)
@given(text=texts, allowed=st.sets(st.sampled_from(SPECIALS[:4])))
def test_special_tokens_that_are_not_allowed_are_text(which: str, text: str, allowed: set[str]) -> None:
    without = trained(tuple(special for special in SPECIALS[:4] if special in allowed), which)
    names = {special.encode() for special in SPECIALS[:4]}
    expected = [without.vocab[token_id] for token_id in without.encode(text)]
    tokenizer = trained(which=which)
    for given_as in (allowed, list(allowed), frozenset(allowed)):
        ids = tokenizer.encode(text, allowed_special=given_as)
        assert [tokenizer.vocab[token_id] for token_id in ids] == expected
        # By bytes alone a special token is not told from an ordinary one of the same spelling.
        assert {tokenizer.vocab[i] for i in ids if i >= 456} <= names & {name.encode() for name in allowed}
    if not allowed:
        assert tokenizer.encode_ordinary(text) == ids
    assert list(tokenizer.encode_iterable(text, allowed_special=allowed)) == ids
    assert tokenizer.encode_batch([text], allowed_special=allowed) == [ids]


def test_what_is_allowed_must_be_special_tokens_of_the_tokenizer() -> None:
    for call in (trained().encode, trained().encode_to_numpy, trained().encode_iterable):
        with pytest.raises(
            ValueError, match=r"'<x>' in allowed_special is no special token .* it has \['<e>'"
        ):
            call("", allowed_special=["<e>", "<x>"])
        with pytest.raises(ValueError, match=r"must be 'all' or a collection .*, got '<e>'"):
            call("", allowed_special="<e>")
        with pytest.raises(TypeError, match=r"must be 'all' or a collection of special tokens, got None"):
            call("", allowed_special=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="errors must be one of 'strict', 'bytes', got 'ignore'"):
        trained().encode("", errors="ignore")


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
@each_engine
def test_ids_are_as_narrow_as_the_vocabulary_allows(which: str, vocab_size: int, dtype: type) -> None:
    vocab = {i: bytes([i]) if i < 256 else b"%08d" % i for i in range(vocab_size)}
    tokenizer = build(which, vocab, [], [f"{vocab_size - 1:08}"])
    array = tokenizer.encode_to_numpy(f"a{vocab_size - 1:08}")
    assert array.dtype == dtype
    assert array.tolist() == [97, vocab_size - 1]
    assert tokenizer.encode_to_numpy("").dtype == dtype


@settings(deadline=None)
@given(st.text("abc", max_size=120))
def test_both_ways_of_merging_agree(text: str) -> None:
    tokens = {token: token_id for token_id, token in trained().vocab.items()}
    table = merge_table(trained().merges, tokens)
    encoder = PretokenEncoder({value: value for value in range(256)}, table)
    assert encoder.merge_long(list(text.encode())) == encoder.merge_short(list(text.encode()))


def test_of_overlapping_special_tokens_the_longest_wins() -> None:
    tokenizer = Tokenizer(BYTES, [], ["<e>", "<e><e>"])
    assert tokenizer.encode("<e><e><e>") == [257, 256]
    assert Tokenizer(BYTES, []).encode("<e>") == [ord("<"), ord("e"), ord(">")]


def test_the_encoding_example_of_the_assignment() -> None:
    tokens = [b" ", b"a", b"c", b"e", b"h", b"t", b"th", b" c", b" a", b"the", b" at"]
    merges = [(b"t", b"h"), (b" ", b"c"), (b" ", b"a"), (b"th", b"e"), (b" a", b"t")]
    tokenizer = Tokenizer(dict(enumerate(tokens)), merges)
    assert tokenizer.encode("the cat ate") == [9, 7, 1, 5, 10, 3]


@each_engine
def test_a_byte_that_the_vocabulary_lacks_is_named(which: str) -> None:
    tokenizer = build(which, {0: b"a", 1: b"b"}, [], ["<e>"])
    assert tokenizer.encode("ab<e>") == [0, 1, 2]
    for call in (
        tokenizer.encode,
        tokenizer.encode_ordinary,
        lambda text: list(tokenizer.encode_iterable(text)),
    ):
        with pytest.raises(ValueError, match=r"byte 0x78.* is not in the vocabulary"):
            call("abx")
    with pytest.raises(ValueError, match=r"byte 0xff.* is not in the vocabulary"):
        tokenizer.encode(b"ab\xff", errors="bytes")
    assert tokenizer.encode("ba") == [1, 0]  # and the encoder goes on


def test_a_special_token_spelled_like_a_byte_keeps_its_own_id() -> None:
    vocab = {0: b"a"} | {value + 1: bytes([value]) for value in range(256)} | {257: b"ab"}
    tokenizer = Tokenizer(vocab, [(b"a", b"b")], ["a"])
    assert tokenizer.encode("ab") == [0, 1 + ord("b")]
    assert Tokenizer(BYTES, [], ["a"]).encode("ab") == [ord("a"), ord("b")]


def test_half_a_surrogate_pair_is_refused_with_its_position() -> None:
    text = "the cat " * 1_000 + "\ud83d!"
    with pytest.raises(ValueError, match="half a surrogate pair at position 8000"):
        trained().encode(text)
    with pytest.raises(ValueError, match="half a surrogate pair at position 8000"):
        list(trained().encode_iterable(text[i : i + 7] for i in range(0, len(text), 7)))


def test_text_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="text must be str or bytes, got bytearray"):
        trained().encode(bytearray(b"abc"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="encode_iterable takes strings, item 1 is bytes"):
        list(trained().encode_iterable(["a", b"b"]))  # type: ignore[list-item]


@each_engine
def test_memory_of_the_cache_is_bounded_and_a_full_one_changes_nothing(which: str) -> None:
    draw = random.Random(2)
    words = " ".join("".join(draw.choices("abcdefgh", k=6)) for _ in range(6_000))
    tokenizer = trained.__wrapped__(which=which)
    ids = list(tokenizer.encode_iterable([words]))  # this cache holds 4,096
    assert ids == tokenizer.encode(words)
    if which == "pure":
        (encoder,) = tokenizer._encoder._small_pool._idle
        assert 0 < len(encoder._cache) <= 4_096  # type: ignore[attr-defined]
