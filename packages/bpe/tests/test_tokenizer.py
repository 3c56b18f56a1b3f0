"""Encoding and decoding."""

import itertools
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import GPT2_PATTERN, StreamDecoder, Tokenizer
from hornbook.bpe.merges import learn_merges

BYTES = {value: bytes([value]) for value in range(256)}
SPECIALS = ["<e>", "<e><e>", "b c", "é日"]
FRAGMENTS = ["the ", "cat", "aaa", "ab", "é", "日", "🙂", "\0", "\ufeff", "\r\n", "  ", "'s", "42", "!?"]
texts = st.lists(st.sampled_from([*FRAGMENTS, *SPECIALS, "<e", "b "])).map("".join) | st.text()


@cache
def trained(specials: tuple[str, ...] = tuple(SPECIALS)) -> Tokenizer:
    draw = random.Random(0)
    text = "".join(draw.choices(FRAGMENTS, k=3_000)) + "".join(draw.choices("abc", k=500))
    words = {word.encode(): 1 + len(word) % 3 for word in regex.findall(GPT2_PATTERN, text)}
    merges = learn_merges(words, 200)
    tokens = [*BYTES.values(), *(left + right for left, right in merges)]
    return Tokenizer(dict(enumerate(tokens)), merges, specials)


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
        for pretoken in regex.findall(GPT2_PATTERN, ordinary):
            tokens = [bytes([value]) for value in pretoken.encode()]
            for merge in tokenizer.merges:
                spot = 0
                while spot < len(tokens) - 1:
                    if (tokens[spot], tokens[spot + 1]) == merge:
                        tokens[spot : spot + 2] = [merge[0] + merge[1]]
                    spot += 1
            result += [ids[token] for token in tokens]
        result += [ids[here.encode()]] if here else []
        ordinary = ""
        place += len(here) or 1
    return result


@settings(deadline=None, max_examples=200)
@given(texts)
def test_encoding_agrees_with_applying_every_merge_in_turn(text: str) -> None:
    assert trained().encode(text) == naive_encode(trained(), text)


@settings(deadline=None)
@given(texts)
def test_decoding_gives_the_text_back(text: str) -> None:
    for tokenizer in (trained(), trained(())):
        assert tokenizer.decode(tokenizer.encode(text)) == text


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


@settings(deadline=None, max_examples=200)
@given(texts, st.data())
def test_chunks_give_the_ids_of_the_whole_wherever_they_end(text: str, data: st.DataObject) -> None:
    text = text * data.draw(st.integers(1, 40))
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in itertools.pairwise([0, *borders, len(text)])]
    assert list(trained().encode_iterable(chunks)) == trained().encode(text)
    assert list(trained().encode_iterable(text)) == trained().encode(text)


def test_an_endless_iterable_is_read_as_far_as_needed() -> None:
    ids = trained().encode_iterable(itertools.repeat("the cat "))
    assert trained().decode(itertools.islice(ids, 5_000)).startswith("the cat the cat ")


@pytest.mark.parametrize("seed", range(2))
def test_a_file_gives_the_ids_of_its_text_whatever_the_processes(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choices([*FRAGMENTS, *SPECIALS, "<e", " b"], k=2_000))
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    expected = trained().encode(text)
    assert np.concatenate(list(trained().encode_file(path))).tolist() == expected
    for num_processes, piece_bytes in ((1, 100), (2, 100), (3, 33)):
        arrays = list(trained()._encode_pieces(path, num_processes, None, piece_bytes))
        assert len(arrays) > 24
        assert np.concatenate(arrays).tolist() == expected


def test_leaving_a_file_half_encoded_ends_the_workers(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat " * 1_000, encoding="utf-8")
    arrays = trained()._encode_pieces(path, 2, None, 100)
    assert trained().decode(next(arrays)).startswith("the cat")
    arrays.close()  # type: ignore[attr-defined]  # a process left behind would warn, and warnings are errors


def test_progress_of_a_file_counts_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat " * 100, encoding="utf-8")
    calls: list[tuple[str, int, int]] = []
    list(trained().encode_file(path, progress=lambda *call: calls.append(call)))
    assert calls == [("encode", 800, 800)]


def test_an_empty_file_has_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.touch()
    assert list(trained().encode_file(path)) == []
    assert trained().encode("") == []
    assert trained().decode([]) == ""


def test_a_missing_file_is_reported_at_once() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere\.txt"):
        trained().encode_file("nowhere.txt")


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_ids_are_as_narrow_as_the_vocabulary_allows(vocab_size: int, dtype: type, tmp_path: Path) -> None:
    vocab = {
        token_id: bytes([token_id]) if token_id < 256 else b"%08d" % token_id
        for token_id in range(vocab_size)
    }
    tokenizer = Tokenizer(vocab, [], [f"{vocab_size - 1:08}"])
    text = f"a{vocab_size - 1:08}"
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    (array,) = tokenizer.encode_file(path)
    assert array.dtype == dtype
    assert array.tolist() == tokenizer.encode(text) == [97, vocab_size - 1]
    array[0] = 1  # writable, so that torch.from_numpy takes it without a warning


@settings(deadline=None)
@given(st.text("abc", max_size=120))
def test_both_ways_of_merging_agree(text: str) -> None:
    encoder = trained()._encoder
    assert encoder.merge_long(list(text.encode())) == encoder.merge_short(list(text.encode()))


@pytest.mark.parametrize("text", ["a" * 500_000, " " * 300_000 + "a", "abc" * 100_000])
def test_one_endless_word_is_no_trouble(text: str) -> None:
    assert trained().decode(trained().encode(text)) == text


def test_of_overlapping_special_tokens_the_longest_wins() -> None:
    tokenizer = Tokenizer(BYTES, [], ["<e>", "<e><e>"])
    assert tokenizer.encode("<e><e><e>") == [257, 256]
    assert Tokenizer(BYTES, []).encode("<e>") == [ord("<"), ord("e"), ord(">")]


def test_the_encoding_example_of_the_assignment() -> None:
    tokens = [b" ", b"a", b"c", b"e", b"h", b"t", b"th", b" c", b" a", b"the", b" at"]
    merges = [(b"t", b"h"), (b" ", b"c"), (b" ", b"a"), (b"th", b"e"), (b" a", b"t")]
    tokenizer = Tokenizer(dict(enumerate(tokens)), merges)
    assert tokenizer.encode("the cat ate") == [9, 7, 1, 5, 10, 3]
    with pytest.raises(ValueError, match="byte 0x78 of b'x' is not in the vocabulary"):
        tokenizer.encode("x")


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
    swapped = [Tokenizer(vocab, merges, names).fingerprint for names in (["ab", "bc"], ["bc", "ab"])]
    assert swapped[0] == swapped[1]


def test_malformed_bytes_decode_to_the_replacement_character() -> None:
    tokenizer = Tokenizer(BYTES, [])
    assert tokenizer.decode([0x61, 0xE6, 0x97, 0x62]) == "a\ufffdb"
    assert tokenizer.decode_bytes([0xE6, 0x97]) == b"\xe6\x97"


def test_ids_of_numpy_and_iterators_decode() -> None:
    assert Tokenizer(BYTES, []).decode(np.array([104, 105], np.uint16)) == "hi"
    assert Tokenizer(BYTES, []).decode(iter([104, 105])) == "hi"


@pytest.mark.parametrize("token_id", [256, -1, 10**30])
def test_an_unknown_id_is_named(token_id: int) -> None:
    with pytest.raises(ValueError, match=f"token id {token_id} is not in the vocabulary of 256 tokens"):
        Tokenizer(BYTES, []).decode([97, token_id])


@pytest.mark.parametrize("ids", [["a"], [1.0], [None], [[1]]])
def test_ids_that_are_no_integers_are_refused(ids: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        Tokenizer(BYTES, []).decode(ids)


def test_half_a_surrogate_pair_is_refused_with_its_position() -> None:
    text = "the cat " * 1_000 + "\ud83d!"
    with pytest.raises(ValueError, match="half a surrogate pair at position 8000"):
        trained().encode(text)
    with pytest.raises(ValueError, match="half a surrogate pair at position 8000"):
        list(trained().encode_iterable(text[i : i + 7] for i in range(0, len(text), 7)))


def test_text_that_is_no_str_is_refused() -> None:
    with pytest.raises(TypeError, match="text must be a str, got bytes"):
        trained().encode(b"abc")  # type: ignore[arg-type]
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
        ({0: b"a"}, [], ["<e>", "<e>"], ValueError, "'<e>' is given twice"),
        ({0: b"a"}, [], "<e>", TypeError, "must be a sequence of strings"),
    ],
)
def test_an_unsound_tokenizer_is_refused(
    vocab: Any, merges: Any, specials: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Tokenizer(vocab, merges, specials)
