"""Encoding and decoding."""

import copy
import itertools
import pickle
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import StreamDecoder, Tokenizer, engine, vocabulary
from hornbook.bpe.encode import PretokenEncoder
from hornbook.bpe.encoders import EncoderPool
from hornbook.bpe.library import load
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.special import SpecialTokens
from hornbook.bpe.vocabulary import merge_table

BYTES = {value: bytes([value]) for value in range(256)}
SPECIALS = ["<e>", "<e><e>", "b c", "é日", " "]
FRAGMENTS = ["the ", "cat", "aaa", "ab", "é", "日", "🙂", "\0", "\ufeff", "\r\n", "  ", "'s", "42", "!?"]
texts = st.lists(st.sampled_from([*FRAGMENTS, *SPECIALS, "<e", "b "])).map("".join) | st.text()
blobs = (
    st.lists(
        st.sampled_from(
            [b"the ", "é日🙂".encode(), b"\xff", b"\xe6\x97", b"\xed\xa0\x80", b"<e>", b"<e", b"\0"]
        )
    ).map(b"".join)
    | st.binary()
)

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
    merges = naive_merges(200)
    tokens = [*BYTES.values(), *(left + right for left, right in merges)]
    return build(which, dict(enumerate(tokens)), merges, specials, pattern=pattern)


@cache
def naive_merges(num_merges: int) -> list[tuple[bytes, bytes]]:
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


@each_engine
def test_a_tokenizer_serves_many_threads_at_once(which: str) -> None:
    draw = random.Random(1)
    inputs = ["".join(draw.choices([*FRAGMENTS, *SPECIALS], k=300)) for _ in range(40)]
    tokenizer = trained(which=which)
    expected = [tokenizer.encode(text) for text in inputs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, inputs * 5)) == expected * 5
        assert list(pool.map(lambda text: list(tokenizer.encode_iterable([text])), inputs)) == expected
        assert list(pool.map(tokenizer.decode, expected)) == inputs
    long = [text * 40 for text in inputs[:8]]
    assert tokenizer.encode_batch(long, num_threads=4) == [tokenizer.encode(text) for text in long]


def test_an_encoder_serves_one_thread_at_a_time_and_is_used_again() -> None:
    made: list[Any] = []
    meeting = threading.Barrier(4, timeout=30)

    class Alone:
        def __init__(self, cache_entries: int) -> None:
            made.append(cache_entries)
            self.busy = False

        def encode(self, text: bytes, specials: Any) -> Any:
            assert not self.busy
            self.busy = True
            meeting.wait()  # four are here at the same time
            self.busy = False
            return np.zeros(1, np.uint16)

    pool = EncoderPool(Alone, 7)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            list(threads.map(lambda text: pool.encode(text, SpecialTokens({})), [b""] * 4))
    assert made == [7] * 4


def test_a_batch_names_the_text_that_fails() -> None:
    for bad, error, message in (
        ("\ud800", ValueError, r"texts\[2\]: the text has half a surrogate pair at position 0"),
        (b"a\xff", ValueError, r"texts\[2\]: the text is not valid UTF-8: byte 0xff at offset 1"),
        (7, TypeError, r"texts\[2\]: text must be str or bytes, got int"),
    ):
        with pytest.raises(error, match=message):
            trained().encode_batch(["the ", b"cat", bad])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="encode_batch takes several texts, got one str"):
        trained().encode_batch("the cat")
    assert trained().encode_batch([]) == []


@each_engine
@pytest.mark.parametrize("pattern", ["gpt2", r"\w+|\s"])
def test_pickles_and_copies_are_the_same_tokenizer(which: str, pattern: str) -> None:
    merges = naive_merges(20)
    vocab = {0: b"a", **{1 + value: bytes([value]) for value in range(256)}}
    vocab |= {257 + rank: left + right for rank, (left, right) in enumerate(merges)}
    tokenizer = build(which, vocab, merges, ["<e>", "a"], pattern=pattern)
    text = "the cat<e>aab" * 10
    tokenizer.encode(text)  # an encoder in use must not be in the way
    for other in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer), copy.copy(tokenizer)):
        assert other is not tokenizer
        assert other.fingerprint == tokenizer.fingerprint
        assert (other.pattern, other.special_tokens) == (pattern, ["<e>", "a"])
        assert other.encode(text) == tokenizer.encode(text)
        assert other.decode(other.encode(text)) == text


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


@each_engine
@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000 + "a", "abc" * 30_000])
def test_one_endless_word_is_no_trouble(which: str, text: str) -> None:
    tokenizer = trained(which=which)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert list(tokenizer.encode_iterable([text])) == ids


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


def test_properties_are_what_was_given_and_cannot_be_changed_through() -> None:
    merges = [(b"t", b"h")]
    tokenizer = Tokenizer({**BYTES, 256: b"th"}, merges, ["é", "<e>"])
    assert tokenizer.vocab == {**BYTES, 256: b"th", 257: "é".encode(), 258: b"<e>"}
    assert tokenizer.vocab_size == 259
    assert tokenizer.merges == merges
    assert tokenizer.special_tokens == ["é", "<e>"]
    tokenizer.vocab.clear()
    tokenizer.merges.clear()
    tokenizer.special_tokens.clear()
    assert tokenizer.encode("th<e>") == [256, 258]
    assert tokenizer.token_num_bytes.dtype == np.int64
    assert tokenizer.token_num_bytes.tolist() == [1] * 256 + [2, 0, 0]


@settings(deadline=None)
@given(texts)
def test_token_lengths_sum_to_the_bytes_of_the_text_without_special_tokens(text: str) -> None:
    plain = trained().decode(i for i in trained().encode(text) if trained().token_num_bytes[i] > 0)
    assert trained().token_num_bytes[trained().encode(text)].sum() == len(plain.encode())


def test_the_fingerprint_tells_tokenizers_apart() -> None:
    vocab = {**BYTES, 256: b"ab", 257: b"abc", 258: b"bc"}
    merges = [(b"a", b"b"), (b"ab", b"c"), (b"b", b"c")]
    same = [Tokenizer(vocab, merges, ["ab"]), Tokenizer(dict(reversed(vocab.items())), merges, ("ab",))]
    others = [
        Tokenizer(vocab, merges),
        Tokenizer(vocab, merges[::-1], ["ab"]),
        Tokenizer(vocab, merges[:2], ["ab"]),
        Tokenizer(vocab | {257: b"bc", 258: b"abc"}, merges, ["ab"]),
        Tokenizer(vocab, merges, ["bc"]),
    ]
    assert same[0].fingerprint == same[1].fingerprint
    assert len({tokenizer.fingerprint for tokenizer in [*same, *others]}) == 6
    assert Tokenizer(vocab, merges, ["ab"], pattern="cl100k").fingerprint not in {t.fingerprint for t in same}
    swapped = [Tokenizer(vocab, merges, names).fingerprint for names in (["ab", "bc"], ["bc", "ab"])]
    assert swapped[0] == swapped[1]


def test_the_fingerprint_of_gpt2s_pattern_is_that_of_version_0_1() -> None:
    # Token files and caches of that version name it. It knew no other pattern.
    tokenizer = Tokenizer({**BYTES, 256: b"ab"}, [(b"a", b"b")], ["<e>"])
    assert tokenizer.fingerprint == "e5338d7d8fcd111d1e69634c9e1b62dc45fb653436a1e3a9e521896252309410"
    assert tokenizer.pattern == "gpt2"


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


@pytest.mark.parametrize(
    ("vocab", "merges", "specials", "error", "message"),
    [
        ([b"a"], [], None, TypeError, "vocab must map token ids to bytes, got list"),
        ({0: "a"}, [], None, TypeError, "vocab must map token ids to bytes, got 0: 'a'"),
        ({"a": b"a"}, [], None, TypeError, "vocab must map token ids to bytes, got 'a': b'a'"),
        ({0: b""}, [], None, ValueError, "token 0 is empty"),
        ({0: b"a", 2: b"b"}, [], None, ValueError, "ids of 2 tokens must be 0 to 1, but 1 is missing"),
        ({0: b"a", 1: b"a"}, [], None, ValueError, "ids 0 and 1 are both token b'a'"),
        ({0: b"a", 1: b"b"}, [(b"a", b"b")], None, ValueError, r"merge 0, b'a' \+ b'b', needs b'ab'"),
        ({0: b"a", 1: b"ab"}, [(b"a", b"b")], None, ValueError, r"merge 0, b'a' \+ b'b', needs b'b'"),
        ({0: b"a", 1: b"aa"}, [(b"a", b"a")] * 2, None, ValueError, "was given before as merge 0"),
        ({0: b"a"}, ["aa"], None, TypeError, "merge 0 must be a pair of bytes, got 'aa'"),
        ({0: b"a"}, [(b"a",)], None, ValueError, r"merge 0 must have two parts"),
        ({0: b"a", 1: b"aa"}, [{b"a"}], None, TypeError, "merge 0 must be a pair of bytes"),
        ({0: b"a"}, [("a", "a")], None, TypeError, "merge 0 must be a pair of bytes"),
        ({0: b"a"}, [b"aa"], None, TypeError, "merge 0 must be a pair of bytes"),
        ({0: b"a"}, [(b"a", b"a", b"a")], None, ValueError, "merge 0 must have two parts"),
        ({True: b"a"}, [], None, TypeError, "vocab must map token ids to bytes, got True"),
        ({0: b"<e>", 1: b"<e>", 2: b"<e>"}, [], ["<e>"], ValueError, "ids 1 and 2 are both token b'<e>'"),
        ({0: b"a"}, [], ["<e>", "<e>"], ValueError, "'<e>' is given twice"),
        ({0: b"a"}, [], "<e>", TypeError, "must be a sequence of strings"),
    ],
)
def test_an_unsound_tokenizer_is_refused(
    vocab: Any, merges: Any, specials: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Tokenizer(vocab, merges, specials)


def test_a_vocabulary_has_at_most_two_to_the_21_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vocabulary.MAX_VOCAB_SIZE == 2**21
    monkeypatch.setattr(vocabulary, "MAX_VOCAB_SIZE", 256)  # the real one takes seconds to fill
    assert Tokenizer(BYTES, []).vocab_size == 256
    with pytest.raises(ValueError, match=r"at most 256 tokens \(2\^21\), this one has 257"):
        Tokenizer(BYTES, [], ["<e>"])


def test_numbers_of_numpy_and_pairs_of_lists_make_the_same_tokenizer() -> None:
    vocab = {np.int64(token_id): token for token_id, token in {**BYTES, 256: b"ab"}.items()}
    tokenizer = Tokenizer(vocab, iter([[b"a", b"b"]]))  # type: ignore[arg-type]
    assert tokenizer.fingerprint == Tokenizer({**BYTES, 256: b"ab"}, [(b"a", b"b")]).fingerprint
    assert tokenizer.merges == [(b"a", b"b")]


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


def test_more_merges_than_have_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_MERGES", 1)
    vocab = {value: bytes([value]) for value in range(256)} | {256: b"ab", 257: b"abc"}
    with pytest.raises(ValueError, match=r"at most 1 merges \(2\^22 - 2\), this one has 2"):
        Tokenizer(vocab, [(b"a", b"b"), (b"ab", b"c")])
