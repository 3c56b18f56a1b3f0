"""Learning merges: pure Python and the compiled core against recounting every pair for every merge."""

import ctypes
import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import library, native_learn
from hornbook.bpe.merges import learn_merges, pack_words
from hornbook.bpe.native import declare
from naive import Merges, naive_merges

Learn = Callable[..., Merges]

CORE = library.load()
RULES = ("greatest bytes", "smallest ids")
LEARNERS: dict[str, Learn] = {"pure": learn_merges}
if CORE is not None:
    LEARNERS["compiled"] = partial(native_learn.learn_merges, declare(CORE))

each_learner = pytest.mark.parametrize("learn", LEARNERS.values(), ids=LEARNERS)
needs_core = pytest.mark.skipif(CORE is None, reason="there is no compiled core")
word_counts = st.dictionaries(
    st.binary(min_size=1, max_size=12) | st.text("ab", min_size=1).map(str.encode), st.integers(1, 5)
)


def corpus(seed: int) -> dict[bytes, int]:
    """Words of few letters with runs, ties and repeats; counts small, or of all sizes."""
    draw = random.Random(seed)
    letters = draw.choice([b"a", b"ab", b"abc", b"\x00\xff", "🙂é日本".encode(), bytes(range(256))])
    largest = draw.choice([1, 2, 1_000, 2**40])
    longest = draw.choice([3, 12, 70])
    words = {}
    for _ in range(draw.randint(0, 30)):
        size = draw.randint(1, longest)
        word = bytes(draw.choices(letters, k=size)) if draw.random() < 0.7 else bytes([letters[0]]) * size
        words[word] = draw.randint(1, draw.choice([1, largest]))
    return words


@each_learner
def test_the_worked_example_of_sennrich_as_the_assignment_gives_it(learn: Learn) -> None:
    merges = learn(*pack_words({b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6}), 12)
    spelled = "s t, e st, o w, l ow, w est, n e, ne west, w i, wi d, wid est, low e, lowe r"
    assert [f"{left.decode()} {right.decode()}" for left, right in merges] == spelled.split(", ")


@each_learner
def test_of_equal_counts_the_greater_pair_of_bytes_wins_and_a_longer_token_beats_its_prefix(
    learn: Learn,
) -> None:
    # Stanford CS336, assignment 1 (2025): max of ("A", "B"), ("A", "C"), ("B", "ZZ"), ("BA", "A") is the last
    assert learn(*pack_words({b"AB": 1, b"AC": 1, b"\xff\x00": 1}), 1) == [(b"\xff", b"\x00")]
    # "xa" is made first; then ("x", "z") and ("xa", "z") tie, and "x" < "xa" although "z" is the same
    assert learn(*pack_words({b"xa": 5, b"xaz": 1, b"xz": 1}), 2) == [(b"x", b"a"), (b"xa", b"z")]


@each_learner
def test_tokens_that_agree_in_many_bytes_are_told_apart(learn: Learn) -> None:
    words = {b"a" * 16 + end: 9 for end in (b"b", b"c")} | {
        b"a" * 16 + b"b" + b"y": 1,
        b"a" * 16 + b"c" + b"x": 1,
        b"a" * 16 + b"y": 1,
    }
    merges = learn(*pack_words(words), 9)
    assert merges[-3:] == [(b"a" * 16 + b"c", b"x"), (b"a" * 16 + b"b", b"y"), (b"a" * 16, b"y")]


@each_learner
def test_of_equal_counts_the_smaller_ids_win_where_that_is_the_rule(learn: Learn) -> None:
    # Of equal counts: "~" has id 93, "\xff" 187, "\0" 188 and " " 220; merges come after all bytes.
    words = {b"\xff~": 1, b"~\xff": 1, b"\0~": 1, b" ~": 1, b"~\0": 1}
    assert learn(*pack_words(words), 9, "smallest ids") == [
        (b"~", b"\xff"),
        (b"~", b"\0"),
        (b"\xff", b"~"),
        (b"\0", b"~"),
        (b" ", b"~"),
    ]
    assert learn(*pack_words({b"~~": 9, b"~~\xff": 1, b" !": 1}), 3, "smallest ids")[1:] == [
        (b" ", b"!"),
        (b"~~", b"\xff"),
    ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("block", range(4))
def test_merges_agree_with_recounting_everything_on_300_corpora(block: int, rule: str) -> None:
    for seed in range(80 * block, 80 * block + 80):
        words = corpus(seed)
        expected = naive_merges(words, 50, rule)
        for name, learn in LEARNERS.items():
            assert learn(*pack_words(words), 50, rule) == expected, (seed, name)


@settings(deadline=None, max_examples=100)
@given(word_counts, st.sampled_from(RULES))
def test_merges_agree_with_recounting_everything(words: dict[bytes, int], rule: str) -> None:
    expected = naive_merges(words, 60, rule)
    for learn in LEARNERS.values():
        assert learn(*pack_words(words), 60, rule) == expected


@settings(deadline=None, max_examples=50)
@given(word_counts, st.integers(1, 2**40), st.integers(0, 60), st.randoms(use_true_random=False))
def test_order_scale_and_repetition_of_words_do_not_matter_and_fewer_merges_are_a_beginning(
    words: dict[bytes, int], factor: int, fewer: int, draw: random.Random
) -> None:
    shuffled = draw.sample(sorted(words), len(words))
    twice = [(word, part) for word in shuffled for part in (words[word] * factor, factor)]
    data, ends, _ = pack_words(dict.fromkeys(shuffled, 1))
    repeated = np.frombuffer(b"".join(word for word, _ in twice), np.uint8)
    ends_twice = np.cumsum([len(word) for word, _ in twice], dtype=np.int64)
    counts_twice = np.array([count for _, count in twice], np.int64)
    sums = np.array([(words[word] + 1) * factor for word in shuffled], np.int64)
    for learn in LEARNERS.values():
        whole = learn(data, ends, sums, 60)
        assert learn(repeated, ends_twice, counts_twice, 60) == whole
        assert learn(*pack_words({word: words[word] + 1 for word in sorted(words)}), 60) == whole
        assert learn(data, ends, sums, fewer) == whole[:fewer]


@each_learner
@pytest.mark.parametrize("large", [2**32, 2**40, 2**58])
def test_large_counts_are_exact(learn: Learn, large: int) -> None:
    assert learn(*pack_words({b"ab": large, b"cd": large + 1}), 2) == [(b"c", b"d"), (b"a", b"b")]
    # Sums that 64-bit floats and 32-bit integers could not tell apart: ("b", "b") is taken from both sides.
    words = {b"abb": large // 2, b"bbc": large - large // 2, b"xy": large - 1, b"zz": large + 1}
    assert learn(*pack_words(words), 3) == [(b"z", b"z"), (b"b", b"b"), (b"x", b"y")]


@each_learner
def test_a_word_of_a_million_equal_letters_doubles_until_it_is_one_token(learn: Learn) -> None:
    size = 10**6
    merges = learn(*pack_words({b"a" * size: 1}), 1_000)
    doublings = size.bit_length() - 1
    assert [len(left) for left, _ in merges[:doublings]] == [2**power for power in range(doublings)]
    assert len(merges[-1][0] + merges[-1][1]) == size
    assert len(merges) == doublings + size.bit_count() - 1


@needs_core
@pytest.mark.parametrize("letters", [b"ab", b"abcdefgh", bytes(range(256))])
def test_one_long_word_among_short_ones_gives_the_same_merges_in_both(letters: bytes) -> None:
    draw = random.Random(0)
    words = {bytes(draw.choices(letters, k=30_000)): 3} | {
        bytes(draw.choices(letters, k=draw.randint(1, 9))): draw.randint(1, 200) for _ in range(2_000)
    }
    for rule in RULES:
        pure, compiled = (learn(*pack_words(words), 1_500, rule) for learn in LEARNERS.values())
        assert pure == compiled


@needs_core
def test_one_word_of_a_million_random_letters_is_no_trouble() -> None:
    letters = bytes(random.Random(0).choices(b"abcdefgh", k=10**6))
    assert len(LEARNERS["compiled"](*pack_words({letters: 1}), 10_000)) == 10_000
    assert LEARNERS["compiled"](*pack_words({letters: 1}), 100) == learn_merges(
        *pack_words({letters: 1}), 100
    )


@needs_core
@pytest.mark.parametrize("rule", RULES)
def test_both_go_on_until_no_pair_is_left(rule: str) -> None:
    draw = random.Random(1)
    words = {
        bytes(draw.choices(b"etaoin shr", k=draw.randint(1, 20))): draw.randint(1, 50) for _ in range(900)
    }
    pure, compiled = (learn(*pack_words(words), 10**9, rule) for learn in LEARNERS.values())
    assert pure == compiled
    assert {left + right for left, right in pure} >= {word for word in words if len(word) > 1}


@each_learner
def test_where_there_is_no_pair_there_is_no_merge(learn: Learn) -> None:
    for words in ({}, {b"a": 5}, {b"a": 1, b"b": 2}):
        assert learn(*pack_words(words), 10) == []
    assert learn(*pack_words({b"ab": 1}), 0) == []


@each_learner
def test_progress_is_told_every_hundred_merges_and_at_the_end(learn: Learn) -> None:
    words = pack_words({bytes([value]) + b"!": 1 for value in range(250)})
    for asked, told in ((220, [100, 200, 220]), (200, [100, 200]), (300, [100, 200, 250]), (0, [0])):
        calls: list[tuple[str, int, int | None]] = []
        learn(*words, asked, progress=lambda *call, into=calls: into.append(call))
        assert calls == [("merge", done, asked) for done in told]


@each_learner
def test_an_error_raised_by_progress_stops_learning_and_reaches_the_caller(learn: Learn) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(*pack_words({bytes([value]) + b"!": 1 for value in range(250)}), 220, progress=stop)


@each_learner
def test_what_cannot_be_learned_from_is_refused(learn: Learn) -> None:
    with pytest.raises(ValueError, match="counts must be at least 1, got 0"):
        learn(*pack_words({b"ab": 3, b"cd": 0}), 1)
    with pytest.raises(ValueError, match=r"stand for 6\.92e\+18 bytes of text; at most 2\*\*62 can be"):
        learn(*pack_words({b"abcd": 2**60, b"ab": 2**60}), 1)
    with pytest.raises(ValueError, match="must be one of 'greatest bytes', 'smallest ids', got 'first'"):
        learn(*pack_words({b"ab": 1}), 1, "first")


def test_words_beyond_32_bits_are_refused_by_the_compiled_core() -> None:
    data = np.broadcast_to(np.uint8(97), 2**32)  # takes one byte
    with pytest.raises(ValueError, match=r"1 distinct pretokens of 4294967296 bytes are too many: bytes and"):
        native_learn.learn_merges(Any, data, np.array([2**32]), np.array([1]), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("learned", [-1, None])
def test_a_core_without_memory_is_a_memory_error(learned: int | None) -> None:
    core = SimpleNamespace(
        hb_learner_new=lambda *_: None if learned is None else 1,
        hb_learner_run=lambda *_: learned,
        hb_learner_free=lambda _: None,
    )
    with pytest.raises(MemoryError):
        native_learn.learn_merges(core, *pack_words({b"ab": 1}), 5)  # type: ignore[arg-type]


@needs_core
def test_merges_learned_in_slices_are_those_learned_at_once() -> None:
    words = corpus(11) | corpus(12)
    data, ends, counts = pack_words(words)
    assert isinstance(CORE, ctypes.CDLL)
    for size in (1, 3, 1_000):
        arrays = [array.ctypes.data for array in (data, ends, counts)]
        learner = CORE.hb_learner_new(*arrays, len(ends), 40, 0)
        total = 0
        while learned := CORE.hb_learner_run(learner, size):
            total += learned
        pairs = np.empty((total, 2), np.int32)
        CORE.hb_learner_merges(learner, pairs.ctypes.data)
        CORE.hb_learner_free(learner)
        tokens = [bytes([value]) for value in range(256)]
        for left, right in pairs.tolist():
            tokens.append(tokens[left] + tokens[right])
        assert tokens[256:] == [left + right for left, right in naive_merges(words, 40, RULES[0])]
