"""What a tokenizer is made of: refused if unsound, copied, told apart."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from hornbook.bpe import Tokenizer, vocabulary
from tokenizers_made import (
    BYTES,
    build,
    each_engine,
    naive_merges,
    texts,
    trained,
)


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


def test_more_merges_than_have_room_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MAX_MERGES", 1)
    vocab = {value: bytes([value]) for value in range(256)} | {256: b"ab", 257: b"abc"}
    with pytest.raises(ValueError, match=r"at most 1 merges \(2\^22 - 2\), this one has 2"):
        Tokenizer(vocab, [(b"a", b"b"), (b"ab", b"c")])
