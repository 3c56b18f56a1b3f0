"""The compiled core's encoders, and what joins tokens, beside pure Python."""

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.bpe import native
from hornbook.bpe.encode import PureEncoder
from hornbook.bpe.patterns import Pattern
from hornbook.bpe.vocabulary import MergeTable
from native_parts import CL100K, FORMS, GPT2, LIBRARY, NO_SPECIALS, SPECIALS, TEXTS


def random_merges(seed: int, num_merges: int, letters: bytes) -> tuple[MergeTable, dict[bytes, int]]:
    """Merges in random order: products before their parts, and several ways to one product."""
    draw = random.Random(seed)
    tokens = [bytes([value]) for value in range(256)]
    ids = {token: 260 + token_id for token_id, token in enumerate(tokens)}
    pairs: dict[tuple[int, int], int] = {}
    known = [bytes([letter]) for letter in letters]
    while len(pairs) < num_merges:
        left, right = draw.choice(known), draw.choice(known)
        if len(left + right) > 12:
            continue
        product = ids.setdefault(left + right, 260 + len(ids))
        pairs[ids[left], ids[right]] = product
        known.append(left + right)
    order = list(pairs)
    draw.shuffle(order)
    return {pair: (rank, pairs[pair]) for rank, pair in enumerate(order)}, ids


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("seed", range(8))
def test_ids_are_those_of_pure_python(seed: int, dtype: type) -> None:
    letters = b"ab" if seed % 2 else b"abc '1!\xc3\xa9"
    merges, ids = random_merges(seed, 200, letters)
    byte_ids = {value: ids[bytes([value])] for value in range(256)}
    kind = np.dtype(dtype)
    handle = native.native_merges(LIBRARY, byte_ids, merges)
    ours = native.NativeEncoder(LIBRARY, handle, GPT2, kind, 0)  # forgets as often as it may
    theirs = PureEncoder(byte_ids, merges, GPT2, kind, 1000)
    draw = random.Random(seed)
    alphabet = ["a", "b", "ab", "a" * 9, "c", "'", "1", "!", "é", " ", "<e>", "<e><e>", "the"]
    for size in [*range(30), 62, 63, 64, 65, 66, 100, 300, 1000, 5000]:
        few = draw.sample(alphabet, draw.randrange(1, 6))
        text = "".join(draw.choices(few, k=size)).encode()
        for specials in (SPECIALS, NO_SPECIALS):
            encoded = ours.encode(text, specials)
            assert encoded.dtype == kind
            assert encoded.tolist() == theirs.encode(text, specials).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_new_pretokens_of_all_sizes_are_merged_side_by_side(form: int) -> None:
    merges, ids = random_merges(5, 400, b"abcde")
    byte_ids = {value: ids[bytes([value])] for value in range(256)}
    kind = np.dtype(np.uint16)
    ours = native.NativeEncoder(
        LIBRARY, native.native_merges(LIBRARY, byte_ids, merges), GPT2, kind, 1 << 14, form
    )
    draw = random.Random(5)
    sizes = [*range(1, 70)] * 20
    draw.shuffle(sizes)
    text = " ".join("".join(draw.choices("abcde", k=size)) for size in sizes).encode()
    theirs = PureEncoder(byte_ids, merges, GPT2, kind, 1 << 14).encode(text, NO_SPECIALS)
    assert np.array_equal(ours.encode(text, NO_SPECIALS), theirs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pattern", [GPT2, CL100K], ids=lambda pattern: pattern.name)
@given(text=TEXTS)
def test_ids_of_any_text_are_those_of_pure_python(form: int, pattern: Pattern, text: str) -> None:
    ours, theirs = ENCODERS[pattern.name, form]
    assert ours.encode(text.encode(), SPECIALS).tolist() == theirs.encode(text.encode(), SPECIALS).tolist()


def _encoders() -> dict[tuple[str, int], tuple[native.NativeEncoder, PureEncoder]]:
    merges, ids = random_merges(99, 500, " 'stherl1\n\xc3\xa9".encode("latin-1"))
    byte_ids = {value: ids[bytes([value])] for value in range(256)}
    kind = np.dtype(np.uint16)
    handle = native.native_merges(LIBRARY, byte_ids, merges)
    return {
        (pattern.name, form): (
            native.NativeEncoder(LIBRARY, handle, pattern, kind, 1000, form),
            PureEncoder(byte_ids, merges, pattern, kind, 1000),
        )
        for pattern in (GPT2, CL100K)
        for form in FORMS
    }


ENCODERS = _encoders()


def test_an_encoder_that_forgets_gives_the_same_ids() -> None:
    merges, ids = random_merges(3, 300, b"abcdefgh")
    byte_ids = {value: ids[bytes([value])] for value in range(256)}
    handle = native.native_merges(LIBRARY, byte_ids, merges)
    kind = np.dtype(np.uint16)
    small = native.NativeEncoder(LIBRARY, handle, GPT2, kind, 1)
    large = native.NativeEncoder(LIBRARY, handle, GPT2, kind, 1 << 20)
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(1, 40))) for _ in range(20_000)]
    text = " ".join(draw.choices(words, k=100_000)).encode()
    first = small.encode(text, NO_SPECIALS)
    assert np.array_equal(first, large.encode(text, NO_SPECIALS))
    assert np.array_equal(first, small.encode(text, NO_SPECIALS))
    assert np.array_equal(first, large.encode(text, NO_SPECIALS))


@pytest.mark.parametrize("form", FORMS)
@given(before=TEXTS, invalid=st.sampled_from([b"\xff", b"\xe2\x82", b"\xed\xa0\x80"]), after=TEXTS)
def test_text_that_is_not_utf8_is_refused_where_python_refuses_it(
    form: int, before: str, invalid: bytes, after: str
) -> None:
    text = before.encode() + invalid + after.encode()
    counter = native.NativeCounter(LIBRARY, GPT2, SPECIALS, form)
    for work in (counter.add_text, lambda data: ENCODERS["gpt2", form][0].encode(data, SPECIALS)):
        with pytest.raises(UnicodeDecodeError) as caught:
            work(text)
        assert caught.value.start == len(before.encode())


@pytest.mark.parametrize("size", [3, 100])
def test_a_byte_that_the_vocabulary_lacks_is_named(size: int) -> None:
    byte_ids = {value: value for value in range(256) if value != ord("q")}
    handle = native.native_merges(LIBRARY, byte_ids, {})
    encoder = native.NativeEncoder(LIBRARY, handle, GPT2, np.dtype(np.uint16), 1000)
    text = b"ok " + b"a" * size + b"q"
    with pytest.raises(ValueError, match=r"^byte 0x71 is not in the vocabulary$"):
        encoder.encode(text, NO_SPECIALS)
    assert encoder.encode(b"ok", NO_SPECIALS).tolist() == [ord("o"), ord("k")]


def test_long_pretokens_are_merged_exactly_in_any_order_of_merges() -> None:
    # Out of order, "ab" and "c" come before the "a" and "b" that "ab" is made of.
    forward = [(b"a", b"b"), (b"ab", b"c")]
    for merges in (forward, forward[::-1], [(b"aa", b"a"), (b"a", b"a")]):
        tokens = [bytes([value]) for value in range(256)] + [left + right for left, right in merges]
        ids = {token: token_id for token_id, token in enumerate(tokens)}
        table = {
            (ids[left], ids[right]): (rank, ids[left + right]) for rank, (left, right) in enumerate(merges)
        }
        byte_ids = {value: value for value in range(256)}
        handle = native.native_merges(LIBRARY, byte_ids, table)
        ours = native.NativeEncoder(LIBRARY, handle, GPT2, np.dtype(np.uint16), 1000)
        theirs = PureEncoder(byte_ids, table, GPT2, np.dtype(np.uint16), 1000)
        for text in (b"abc" * 3_000, b"a" * 5_000, b"aab" * 2_000):
            assert ours.encode(text, NO_SPECIALS).tolist() == theirs.encode(text, NO_SPECIALS).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_pretokens_of_many_stretches_are_merged_as_one(seed: int) -> None:
    # The core merges 16 KB at a time. In order: each merge makes what only later ones use.
    draw = random.Random(seed)
    letters = "abcdefgh"[: draw.choice([1, 2, 8])]
    ids = {bytes([value]): value for value in range(256)}
    known = [letter.encode() for letter in letters]
    table: MergeTable = {}
    for _ in range(60):
        left, right = draw.choice(known[-9:]), draw.choice(known)
        if left + right not in ids:
            ids[left + right] = len(ids)
            known.append(left + right)
            table[ids[left], ids[right]] = (len(table), ids[left + right])
    byte_ids = {value: value for value in range(256)}
    ours = native.NativeEncoder(
        LIBRARY, native.native_merges(LIBRARY, byte_ids, table), GPT2, np.dtype(np.uint16), 1000
    )
    theirs = PureEncoder(byte_ids, table, GPT2, np.dtype(np.uint16), 1000)
    unit = "".join(draw.choices(letters, k=7))
    for text in (unit * 9_000, "".join(draw.choices(letters, k=70_001)), letters[0] * 100_000):
        assert (
            ours.encode(text.encode(), NO_SPECIALS).tolist()
            == theirs.encode(text.encode(), NO_SPECIALS).tolist()
        )


@pytest.mark.parametrize(
    "program",
    [
        "atexit.register(lambda: print(len(tokenizer.encode('x' * 99))))",
        "threading.Thread(target=work, daemon=True).start(); time.sleep(0.2); print(99)",
    ],
    ids=["an exit handler", "a daemon thread"],
)
def test_what_still_encodes_while_the_interpreter_ends_does_no_harm(program: str) -> None:
    script = f"""
import atexit, threading, time
from hornbook.bpe import Tokenizer
tokenizer = None
def work():
    while True:
        tokenizer.encode_to_numpy("some words and more " * 100_000)
{program if "atexit" in program else ""}
tokenizer = Tokenizer({{value: bytes([value]) for value in range(256)}}, [])
{program if "Thread" in program else ""}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "99\n"), done.stderr


def test_merges_that_find_no_places_in_a_table_get_another(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of pairs with the same two slots only two find places: apply.c's formula, for the first size.
    draw = np.random.default_rng(0)
    letters = range(ord("a"), ord("z") + 1)
    pairs = np.array([left << 21 | right for left in letters for right in letters], np.uint64)
    crowded: list[int] = []
    while len(crowded) < 3:
        key = draw.integers(0, 1 << 64, 2, np.uint64)
        multipliers = (key | np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        slots = (pairs[:, None] * multipliers >> np.uint64(57)) @ np.array([128, 1], np.uint64)
        crowded = pairs[slots == np.bincount(slots.astype(int)).argmax()].tolist()
    merges = {(pair >> 21, pair & 0xFF): (rank, 256 + rank) for rank, pair in enumerate(crowded)}
    monkeypatch.setattr(native, "_hash_key", lambda: key)
    handle = native.native_merges(LIBRARY, {value: value for value in range(256)}, merges)
    encoder = native.NativeEncoder(LIBRARY, handle, GPT2, np.dtype(np.uint16), 1000)
    for pair, (_, product) in merges.items():
        assert encoder.encode(bytes(pair), NO_SPECIALS).tolist() == [product]


def test_the_largest_ids_and_ranks_have_room() -> None:
    # 2**21 tokens: the last id beside itself is the pair whose key has all bits set.
    last = 2**21 - 1
    byte_ids = dict.fromkeys(range(256), last)
    handle = native.native_merges(LIBRARY, byte_ids, {})
    encoder = native.NativeEncoder(LIBRARY, handle, GPT2, np.dtype(np.uint32), 1000)
    assert encoder.encode(b"aaa", NO_SPECIALS).tolist() == [last] * 3
    handle = native.native_merges(LIBRARY, byte_ids, {(last, last): (0, 0)})
    encoder = native.NativeEncoder(LIBRARY, handle, GPT2, np.dtype(np.uint32), 1000)
    assert encoder.encode(b"aaa", NO_SPECIALS).tolist() == [0, last]
    handle = native.native_merges(LIBRARY, dict.fromkeys(range(256), 0), {(0, 0): (0, last)})
    encoder = native.NativeEncoder(LIBRARY, handle, GPT2, np.dtype(np.uint32), 1000)
    assert encoder.encode(b"aaa", NO_SPECIALS).tolist() == [last, 0]


@given(st.lists(st.integers(0, 299), max_size=400))
def test_tokens_are_joined_as_python_joins_them(ids: list[int]) -> None:
    tokens = [bytes([value % 256]) * (value % 7 + 1) for value in range(300)]
    joiner = native.NativeJoiner(LIBRARY, tokens)
    for kind in (np.uint16, np.uint32, np.int64):
        assert joiner.join(np.array(ids, kind)) == b"".join(tokens[token_id] for token_id in ids)


def test_a_token_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no token 2"):
        native.NativeJoiner(LIBRARY, [b"a", b"b"]).join(np.array([0, 2, 1]))
