"""Training: the merges are those of a trainer that recounts everything for every merge."""

import logging
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import GPT2_PATTERN, train_bpe
from hornbook.bpe.counting import count_pretokens
from hornbook.bpe.merges import learn_merges

Merges = list[tuple[bytes, bytes]]


def naive_merges(words: dict[bytes, int], num_merges: int) -> Merges:
    split = {word: [bytes([value]) for value in word] for word in words}
    merges: Merges = []
    while len(merges) < num_merges:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for word, tokens in split.items():
            for pair in pairwise(tokens):
                counts[pair] += words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for tokens in split.values():
            place = 0
            while place < len(tokens) - 1:
                if (tokens[place], tokens[place + 1]) == best:
                    tokens[place : place + 2] = [best[0] + best[1]]
                place += 1
    return merges


def naive_train(text: str, num_merges: int, specials: list[str]) -> Merges:
    words: Counter[bytes] = Counter()
    segment, place = "", 0
    while place <= len(text):
        here = max((s for s in specials if text.startswith(s, place)), key=len, default="")
        if here or place == len(text):
            words.update(word.encode() for word in regex.findall(GPT2_PATTERN, segment))
            segment = ""
        else:
            segment += text[place]
        place += len(here) or 1
    return naive_merges(words, num_merges)


def corpus(seed: int) -> tuple[str, list[str]]:
    """A text with many ties, and special tokens that overlap, nest and repeat in it."""
    draw = random.Random(seed)
    specials = draw.sample(
        ["<e>", "<e><e>", "e><", "ab", "ba", "a b", "é", "\n\n", "<|endoftext|>"], seed % 5
    )
    fragments = ["a", "b", "ab", "aa", "é", "日本", "🙂", "\0", "\r\n", "\n", " ", "  ", "'s", "1", "!"]
    fragments = ["\ufeff", *draw.sample(fragments, draw.randint(2, len(fragments))), *specials, "<e>"]
    return "".join(draw.choices(fragments, k=draw.randint(1, 300))), specials


def test_the_worked_example_of_sennrich_as_the_assignment_gives_it() -> None:
    merges = learn_merges({b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6}, 12)
    spelled = "s t, e st, o w, l ow, w est, n e, ne west, w i, wi d, wid est, low e, lowe r"
    assert [f"{left.decode()} {right.decode()}" for left, right in merges] == spelled.split(", ")


def test_of_equal_counts_the_greater_pair_of_bytes_wins_and_a_longer_token_beats_its_prefix() -> None:
    # Stanford CS336, assignment 1 (2025): max of ("A", "B"), ("A", "C"), ("B", "ZZ"), ("BA", "A") is the last
    assert learn_merges({b"AB": 1, b"AC": 1, b"\xff\x00": 1}, 1) == [(b"\xff", b"\x00")]
    # "xa" is made first; then ("x", "z") and ("xa", "z") tie, and "x" < "xa" although "z" is the same
    assert learn_merges({b"xa": 5, b"xaz": 1, b"xz": 1}, 2) == [(b"x", b"a"), (b"xa", b"z")]


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=12) | st.text("ab", min_size=1).map(str.encode), st.integers(1, 5)
    )
)
def test_merges_agree_with_recounting_everything(words: dict[bytes, int]) -> None:
    assert learn_merges(words, 60) == naive_merges(words, 60)


@pytest.mark.parametrize("block", range(8))
def test_training_agrees_with_the_naive_trainer_on_texts_nobody_picked(block: int, tmp_path: Path) -> None:
    for seed in range(20 * block, 20 * block + 20):
        text, specials = corpus(seed)
        path = tmp_path / "text.txt"
        path.write_bytes(text.encode())
        vocab, merges = train_bpe(path, 256 + len(specials) + 40, specials, num_processes=1)
        assert merges == naive_train(text, 40, specials), seed
        assert list(vocab) == list(range(len(vocab)))
        assert list(vocab.values()) == [
            *(special.encode() for special in specials),
            *(bytes([value]) for value in range(256)),
            *(left + right for left, right in merges),
        ]


def test_counts_beyond_32_bits_are_exact() -> None:
    assert learn_merges({b"ab": 2**40, b"cd": 2**40 + 1}, 2) == [(b"c", b"d"), (b"a", b"b")]


def test_one_word_of_hundred_thousands_of_letters_is_no_trouble() -> None:
    letters = random.Random(0).choices(b"abcdefgh", k=300_000)
    assert len(learn_merges({bytes(letters): 1}, 1_000)) == 1_000


@pytest.mark.parametrize("seed", range(2))
def test_the_counts_depend_neither_on_processes_nor_on_pieces(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    text = "".join(corpus(draw.randrange(10**6))[0] + draw.choice(["", " ", "\n"]) for _ in range(60))
    specials = ["<e>", "<e><e>", "a b"][: draw.randint(0, 3)]
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    whole = count_pretokens(path, specials, 1)
    assert whole.total() > 1_000
    for num_processes, piece_bytes in ((1, 1), (1, 64), (2, 64), (3, 17)):
        assert count_pretokens(path, specials, num_processes, piece_bytes=piece_bytes) == whole


def test_a_file_without_any_safe_cut_is_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * 5_000)
    assert count_pretokens(path, ["<e>"], 3, piece_bytes=10) == {"a" * 5_000: 1}


def test_fewer_merges_than_asked_are_returned_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ab ab", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        vocab, merges = train_bpe(path, 1_000, ["<e>"])
    assert merges == [(b"a", b"b"), (b" ", b"ab")]
    assert len(vocab) == 259
    assert "no pair left to merge: the vocabulary has 259 tokens, not 1000" in caplog.text


def test_progress_rises_to_the_total(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat " * 100, encoding="utf-8")
    calls: list[tuple[str, int, int]] = []
    train_bpe(path, 260, [], progress=lambda *call: calls.append(call))
    assert calls == [("count", 2_300, 2_300), ("merge", 4, 4)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"vocab_size": 256}, ValueError, r"vocab_size must be at least 257 \(256 bytes and 1 special"),
        ({"vocab_size": -1}, ValueError, "vocab_size must be at least 0, got -1"),
        ({"vocab_size": 300.0}, TypeError, "vocab_size must be an integer, got 300.0"),
        ({"vocab_size": True}, TypeError, "vocab_size must be an integer, got True"),
        ({"vocab_size": "300"}, TypeError, "vocab_size must be an integer, got '300'"),
        ({"special_tokens": "<e>"}, TypeError, "must be a sequence of strings such as"),
        ({"special_tokens": None}, TypeError, "must be a sequence of strings such as"),
        ({"special_tokens": [b"<e>"]}, TypeError, r"special_tokens\[0\] must be a string, got b'<e>'"),
        ({"special_tokens": ["<e>", ""]}, ValueError, r"special_tokens\[1\] is empty"),
        ({"special_tokens": ["<e>", "<e>"]}, ValueError, "special token '<e>' is given twice"),
        ({"special_tokens": ["\ud800"]}, ValueError, "half a surrogate pair"),
        ({"num_processes": 0}, ValueError, "num_processes must be at least 1, got 0"),
        ({"num_processes": 1.5}, TypeError, "num_processes must be an integer, got 1.5"),
        ({"input_path": 3}, TypeError, "a path must be a str or an os.PathLike, got int"),
        ({"input_path": "nowhere.txt"}, FileNotFoundError, "there is no file nowhere.txt"),
        ({"input_path": "."}, ValueError, "is not a regular file"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("some text", encoding="utf-8")
    defaults: dict[str, Any] = {"input_path": path, "vocab_size": 300, "special_tokens": ["<e>"]}
    with pytest.raises(error, match=message):
        train_bpe(**defaults | arguments)


def test_numpy_integers_are_integers(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("ab", encoding="utf-8")
    assert train_bpe(path, np.int64(257), [])[1] == [(b"a", b"b")]  # type: ignore[arg-type]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.touch()
    with pytest.raises(ValueError, match="is empty: there is nothing to learn from"):
        train_bpe(path, 300, [])


@pytest.mark.parametrize("num_processes", [1, 2])
def test_bytes_that_are_no_utf8_are_named_by_their_offset_in_the_file(
    num_processes: int, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"good text " * 100 + b"\xff" + b" and more" * 100)
    with pytest.raises(ValueError, match=r"text\.txt is not valid UTF-8: byte 0xff at offset 1000"):
        count_pretokens(path, [], num_processes, piece_bytes=50)
