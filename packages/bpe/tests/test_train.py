"""Training: the merges are those of a trainer that recounts everything for every merge."""

import gzip
import logging
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import counting, engine, train_bpe
from hornbook.bpe.counting import PureCounter, count_pretokens, count_source
from hornbook.bpe.counts import PretokenCounts
from hornbook.bpe.engine import PackedCounts
from hornbook.bpe.patterns import CL100K_PATTERN, GPT2_PATTERN, find_pattern
from hornbook.bpe.sources import open_source
from hornbook.bpe.train import train_from_counts
from naive import naive_merges


def naive_counts(text: str, specials: list[str], pattern: str = GPT2_PATTERN) -> Counter[bytes]:
    words: Counter[bytes] = Counter()
    segment, place = "", 0
    while place <= len(text):
        here = max((s for s in specials if text.startswith(s, place)), key=len, default="")
        if here or place == len(text):
            words.update(word.encode() for word in regex.findall(pattern, segment))
            segment = ""
        else:
            segment += text[place]
        place += len(here) or 1
    return words


def corpus(seed: int) -> tuple[str, list[str]]:
    """A text with many ties, and special tokens that overlap, nest and repeat in it."""
    draw = random.Random(seed)
    specials = draw.sample(
        ["<e>", "<e><e>", "e><", "ab", "ba", "a b", "é", "\n\n", "<|endoftext|>"], seed % 5
    )
    fragments = ["a", "b", "ab", "aa", "é", "日本", "🙂", "\0", "\r\n", "\n", " ", "  ", "'s", "1", "!"]
    fragments = ["\ufeff", *draw.sample(fragments, draw.randint(2, len(fragments))), *specials, "<e>"]
    return "".join(draw.choices(fragments, k=draw.randint(1, 300))), specials


def counts_of(words: dict[bytes, int], specials: list[str] | None = None) -> PretokenCounts:
    packed = PackedCounts(
        np.frombuffer(b"".join(words), np.uint8),
        np.cumsum([len(word) for word in words], dtype=np.int64),
        np.array(list(words.values()), np.int64),
    )
    return PretokenCounts.from_packed("gpt2", specials or [], [packed], num_bytes=1)


def counted(path: Path, specials: list[str], num_threads: int, block_bytes: int) -> dict[bytes, int]:
    counters, num_bytes = count_source(
        open_source(path), specials, find_pattern("gpt2"), num_threads, block_bytes=block_bytes
    )
    assert num_bytes == path.stat().st_size
    parts = [counter.result() for counter in counters]
    return dict(PretokenCounts.from_packed("gpt2", specials, parts, num_bytes).items())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "text.txt"


def test_the_worked_example_of_sennrich_as_the_assignment_gives_it() -> None:
    counts = counts_of({b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6})
    spelled = "s t, e st, o w, l ow, w est, n e, ne west, w i, wi d, wid est, low e, lowe r"
    _, merges = train_from_counts(counts, 256 + 12)
    assert [f"{left.decode()} {right.decode()}" for left, right in merges] == spelled.split(", ")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=12) | st.text("ab", min_size=1).map(str.encode), st.integers(1, 5)
    )
)
def test_merges_agree_with_recounting_everything(words: dict[bytes, int]) -> None:
    assert train_from_counts(counts_of(words), 256 + 60)[1] == naive_merges(words, 60)


@pytest.mark.parametrize("block", range(10))
def test_training_agrees_with_the_naive_trainer_on_texts_nobody_picked(block: int, path: Path) -> None:
    for seed in range(30 * block, 30 * block + 30):
        text, specials = corpus(seed)
        path.write_bytes(text.encode())
        size = 256 + len(specials) + 40
        vocab, merges = train_bpe(path, size, specials, num_threads=1)
        assert merges == naive_merges(naive_counts(text, specials), 40), seed
        assert list(vocab) == list(range(len(vocab)))
        assert list(vocab.values()) == [
            *(special.encode() for special in specials),
            *(bytes([value]) for value in range(256)),
            *(left + right for left, right in merges),
        ]


@pytest.mark.parametrize("pattern", ["cl100k", CL100K_PATTERN, r"[ab ]+|\S+|\s+"])
def test_training_follows_the_pattern(pattern: str, path: Path) -> None:
    text, specials = "I'LL see 12345 babies'\n\n" * 3 + "ab ab abab", ["<e>"]
    path.write_bytes(text.encode())
    words = naive_counts(text, specials, find_pattern(pattern).regex)
    assert dict(count_pretokens(path, specials, pattern=pattern).items()) == words
    assert train_bpe(path, 257 + 30, specials, pattern=pattern)[1] == naive_merges(words, 30)


def test_whatever_the_text_comes_from_the_result_is_the_same(path: Path) -> None:
    text, specials = corpus(14)
    path.write_bytes(text.encode())
    expected = train_bpe(path, 300, specials)
    compressed = path.with_suffix(".gz")
    compressed.write_bytes(gzip.compress(text.encode()))
    assert train_bpe(str(compressed), 300, specials) == expected
    assert train_bpe(iter(text), 300, specials) == expected
    assert train_bpe([path], 300, specials) == expected
    assert train_bpe(str(path.with_name("t*.txt")), 300, specials) == expected
    with path.open("rb") as file:
        assert train_bpe(file, 300, specials) == expected
    # Two files are two texts: every count twice, and so the same merges.
    assert train_bpe([path, compressed], 300, specials) == expected


@pytest.mark.parametrize("tie_break", ["greatest bytes", "smallest ids"])
def test_training_goes_on_from_counts_that_were_saved_in_parts(tie_break: str, path: Path) -> None:
    texts = [corpus(seed)[0] + "<e>" for seed in range(0, 60, 5)]
    specials = ["<e>"]
    path.write_bytes("".join(texts).encode())
    for index, text in enumerate(texts):
        count_pretokens(iter([text]), specials).save(path.with_name(f"{index}.counts"))
    total = count_pretokens(iter([]), specials)
    for index in reversed(range(len(texts))):
        total += PretokenCounts.load(path.with_name(f"{index}.counts"))
    assert total == count_pretokens(path, specials)
    assert train_from_counts(total, 320, tie_break=tie_break) == train_bpe(
        path, 320, specials, tie_break=tie_break
    )


def test_tie_break_is_handed_on() -> None:
    counts = counts_of({b"ab": 1, b"cd": 1})
    assert train_from_counts(counts, 257)[1] == [(b"c", b"d")]
    assert train_from_counts(counts, 257, tie_break="smallest ids")[1] == [(b"a", b"b")]


def test_counts_beyond_32_bits_are_exact() -> None:
    one = counts_of({b"ab": 2**40, b"cd": 2**40})
    assert train_from_counts(one + counts_of({b"ab": 1, b"ef": 1}), 258)[1] == [(b"a", b"b"), (b"c", b"d")]
    assert train_from_counts(one + counts_of({b"cd": 1, b"ef": 1}), 258)[1] == [(b"c", b"d"), (b"a", b"b")]


@pytest.mark.parametrize("seed", range(2))
def test_the_counts_depend_neither_on_threads_nor_on_blocks(seed: int, path: Path) -> None:
    draw = random.Random(seed)
    text = "".join(corpus(draw.randrange(10**6))[0] + draw.choice(["", " ", "\n"]) for _ in range(60))
    specials = ["<e>", "<e><e>", "a b"][: draw.randint(0, 3)]
    path.write_bytes(text.encode())
    whole = naive_counts(text, specials)
    assert whole.total() > 1_000
    for num_threads, block_bytes in ((1, 1 << 20), (1, 1), (1, 64), (2, 64), (3, 17)):
        assert counted(path, specials, num_threads, block_bytes) == whole


def test_what_the_threads_counted_is_added(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_count = threading.Barrier(2, timeout=60)
    counting_threads: set[int] = set()

    class Together(PureCounter):
        def add_text(self, block: bytes | memoryview) -> None:
            if threading.get_ident() not in counting_threads:  # its first block: two threads have one
                counting_threads.add(threading.get_ident())
                both_count.wait()
            super().add_text(block)

    monkeypatch.setattr(engine, "new_counter", Together)
    path.write_text("the cat", encoding="utf-8")
    assert dict(count_pretokens([path] * 4, [], num_threads=2).items()) == {b"the": 4, b" cat": 4}
    assert len(counting_threads) == 2


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_counters_that_become_too_large_are_added_meanwhile(
    path: Path, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_MOST_PRETOKENS", 5)
    text = " ".join(f"{number % 97}a{number % 89}" for number in range(5_000))
    path.write_text(text, encoding="utf-8")
    assert counted(path, [], num_threads, 300) == naive_counts(text, [])


def test_a_text_without_any_safe_cut_is_one_pretoken(path: Path) -> None:
    path.write_bytes(b"a" * 5_000)
    assert counted(path, ["<e>"], 3, 10) == {b"a" * 5_000: 1}


def test_marks_line_ends_and_nul_are_text(path: Path) -> None:
    path.write_bytes("\ufeffa\r\n\0 b\r".encode())
    # The mark is no letter and no white space, nor is NUL.
    assert counted(path, [], 1, 1 << 20) == {
        "\ufeff".encode(): 1,
        b"a": 1,
        b"\r": 2,  # before white space, GPT-2's pattern leaves the last of it out
        b"\n": 1,
        b"\0": 1,
        b" b": 1,
    }


def test_fewer_merges_than_asked_are_returned_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("ab ab", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        vocab, merges = train_bpe(path, 1_000, ["<e>"])
    assert merges == [(b"a", b"b"), (b" ", b"ab")]
    assert len(vocab) == 259
    assert f"{path} has no pair left to merge: the vocabulary has 259 tokens, not 1000" in caplog.text


def test_a_text_of_special_tokens_alone_has_nothing_but_bytes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        vocab, merges = train_bpe(iter(["<e>" * 100]), 300, ["<e>"])
    assert (len(vocab), merges) == (257, [])
    assert "the text has no pair left to merge" in caplog.text


def test_progress_rises_to_the_total(path: Path) -> None:
    path.write_text("the cat sat on the mat " * 100_000, encoding="utf-8")
    calls: list[tuple[str, int, int | None]] = []
    train_bpe(path, 260, [], progress=lambda *call: calls.append(call), num_threads=2)
    assert {call for call in calls if call[0] == "merge"} == {("merge", 4, 4)}
    counting = [call for call in calls if call[0] == "count"]
    assert counting == sorted(counting)
    assert len(counting) > 1
    assert counting[-1] == ("count", 2_300_000, 2_300_000)
    calls.clear()
    train_bpe(iter(["the cat"]), 256, [], progress=lambda *call: calls.append(call))
    assert calls[0] == ("count", 7, None)


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
        ({"pattern": "gpt3"}, ValueError, "pattern must be one of gpt2, cl100k, o200k or a regex"),
        (
            {"tie_break": "first"},
            ValueError,
            "tie_break must be one of 'greatest bytes', 'smallest ids', got",
        ),
        (
            {"tie_break": None},
            ValueError,
            "tie_break must be one of 'greatest bytes', 'smallest ids', got None",
        ),
        ({"num_threads": 0}, ValueError, "num_threads must be at least 1, got 0"),
        ({"num_threads": 1.5}, TypeError, "num_threads must be an integer, got 1.5"),
        ({"input_path": 3}, TypeError, "input_path must be a path, .* got int"),
        ({"input_path": "nowhere.txt"}, FileNotFoundError, "there is no file nowhere.txt"),
        ({"input_path": "."}, ValueError, "is a folder; name the files in it"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str, path: Path
) -> None:
    path.write_text("some text", encoding="utf-8")
    defaults: dict[str, Any] = {"input_path": path, "vocab_size": 300, "special_tokens": ["<e>"]}
    with pytest.raises(error, match=message):
        train_bpe(**defaults | arguments)


def test_wrong_arguments_for_counts_are_refused_by_name() -> None:
    counts = counts_of({b"ab": 1}, ["<e>"])
    with pytest.raises(
        TypeError, match="counts must be PretokenCounts, as count_pretokens returns them, got dict"
    ):
        train_from_counts({b"ab": 1}, 300)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vocab_size must be at least 257"):
        train_from_counts(counts, 256)
    with pytest.raises(ValueError, match="tie_break must be one of"):
        train_from_counts(counts, 300, tie_break="hf")
    with pytest.raises(ValueError, match="those of an empty text: there is nothing to learn from"):
        train_from_counts(count_pretokens(iter([]), []), 300)


def test_numpy_integers_are_integers(path: Path) -> None:
    path.write_text("ab", encoding="utf-8")
    assert train_bpe(path, np.int64(257), [])[1] == [(b"a", b"b")]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_empty_text_is_refused(num_threads: int, path: Path) -> None:
    path.touch()
    for source in (path, [path, path]):
        with pytest.raises(ValueError, match="is empty: there is nothing to learn from"):
            train_bpe(source, 300, [], num_threads=num_threads)
    with pytest.raises(ValueError, match="the text is empty: there is nothing to learn from"):
        train_bpe(iter(["", ""]), 300, [])


@pytest.mark.parametrize("num_threads", [1, 2])
def test_bytes_that_are_no_utf8_are_named_by_their_offset_in_the_file(num_threads: int, path: Path) -> None:
    path.write_bytes(b"good text " * 100 + b"\xff" + b" and more" * 100 + b"\xfe")
    with pytest.raises(ValueError, match=r"text\.txt is not valid UTF-8: byte 0xff at offset 1000"):
        counted(path, [], num_threads, 50)
