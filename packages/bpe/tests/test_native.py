"""The compiled core beside pure Python, function by function."""

import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hornbook.bpe import native
from hornbook.bpe.counting import PureCounter
from hornbook.bpe.encode import PureEncoder
from hornbook.bpe.engine import PackedCounts
from hornbook.bpe.library import load
from hornbook.bpe.patterns import Pattern, find_pattern
from hornbook.bpe.special import SpecialTokens
from hornbook.bpe.vocabulary import MergeTable

_library = load()
if _library is None:
    pytest.skip("pure Python was asked for", allow_module_level=True)
LIBRARY = native.declare(_library)

GPT2 = find_pattern("gpt2")
CL100K = find_pattern("cl100k")
CL100K.spans(b"a")  # compiled now: hypothesis would hold it against the first example
NO_SPECIALS = SpecialTokens({})

# What the scanner treats apart: contractions and what looks like them, white space of one and several bytes,
# numbers that are no digits, letters of one to four bytes.
ASCII_PIECES = [
    "a",
    "Zz",
    "the",
    "'s",
    "'ll",
    "'",
    "''",
    "'r",
    "'re",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "1",
    "22",
    "!",
]
PIECES = [
    *ASCII_PIECES,
    "-",
    "\0",
    "é",
    "日本",
    "🙂",
    "\u3000",
    "\xa0",
    "\u2003",
    "\x85",
    "\x1c",
    "Ⅷ",
    "½",
    "ﬀ",
    "\U0001d7d8",
]
PIECES += ["\u0301", "\ufeff"]
TEXTS = (
    st.lists(st.sampled_from(PIECES), max_size=150).map("".join)
    | st.lists(st.sampled_from(ASCII_PIECES), max_size=300).map("".join)
    | st.text(max_size=200)
)
SPECIALS = SpecialTokens({"<e>": 256, "<e><e>": 257, "the": 258, "é": 259})


def scan(text: bytes, number: int) -> NDArray[np.int64] | None:
    ends = np.empty(len(text), np.int64)
    num_pretokens = LIBRARY.hb_scan(text, len(text), ends.ctypes.data, number)
    return None if num_pretokens < 0 else ends[:num_pretokens]


def counts_of(packed: PackedCounts) -> dict[bytes, int]:
    data, starts = packed.data.tobytes(), [0, *packed.ends.tolist()]
    found = {
        data[start:end]: count
        for start, end, count in zip(starts, packed.ends.tolist(), packed.counts.tolist(), strict=False)
    }
    assert len(found) == len(packed.ends)
    return found


FORMS = [number for number in range(4) if scan(b"a", number) is not None]  # that this machine can execute


@pytest.mark.parametrize("form", FORMS)
@given(TEXTS)
def test_every_scanner_finds_the_pretokens_of_the_pattern(form: int, text: str) -> None:
    ends = scan(text.encode(), form)
    assert ends is not None
    assert ends.tolist() == GPT2.spans(text.encode()).tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", ["'ll be", "'s", "x's's", "''s", "   'd", " \n ", "日本 "])
def test_scanners_find_a_pretoken_wherever_a_block_ends(form: int, piece: str) -> None:
    for size in range(140):
        text = ("ab c" * 35)[:size].encode() + piece.encode() + b" abc" * 20
        ends = scan(text, form)
        assert ends is not None
        assert ends.tolist() == GPT2.spans(text).tolist(), text


def test_scanners_agree_on_every_character_between_two_others() -> None:
    for before, after in (("a", " b"), (" ", "!")):
        characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
        text = "".join([f"{before}{character}{after}" for character in characters]).encode()
        wanted = GPT2.spans(text)
        for form in FORMS:
            ends = scan(text, form)
            assert ends is not None
            assert np.array_equal(ends, wanted)


def valid_prefix(text: bytes) -> int:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(text)


@pytest.mark.parametrize("form", FORMS)
@given(st.text(max_size=100).map(str.encode), st.binary(max_size=8), st.text(max_size=60).map(str.encode))
def test_utf8_is_valid_where_python_says_so(form: int, before: bytes, middle: bytes, after: bytes) -> None:
    text = before + middle + after
    assert LIBRARY.hb_valid_prefix(text, len(text), form) == valid_prefix(text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_before", [0, 61, 62])
def test_utf8_is_valid_where_python_says_so_for_every_start_of_a_character(
    form: int, num_before: int
) -> None:
    for lead in range(0x80, 0x100):
        for second in b"A\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc2\xe0\xf0\xff":
            for rest in (b"", b"\x80", b"\xbf\xbf", b"\x80A", b"AA"):
                text = b"a" * num_before + bytes([lead, second]) + rest
                assert LIBRARY.hb_valid_prefix(text, len(text), form) == valid_prefix(text), text


def test_a_form_that_the_machine_cannot_execute_is_refused() -> None:
    with pytest.raises(MemoryError):
        native.NativeCounter(LIBRARY, GPT2, NO_SPECIALS, simd=99)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pattern", [GPT2, CL100K], ids=lambda pattern: pattern.name)
@given(texts=st.lists(TEXTS, max_size=4))
def test_counts_are_those_of_pure_python(form: int, pattern: Pattern, texts: list[str]) -> None:
    ours = native.NativeCounter(LIBRARY, pattern, SPECIALS, form)
    theirs = PureCounter(pattern, SPECIALS)
    for text in texts:
        ours.add_text(text.encode())
        theirs.add_text(text.encode())
    assert counts_of(ours.result()) == counts_of(theirs.result())
    assert len(ours) == len(theirs)


def test_a_counter_keeps_a_million_pretokens_apart_while_it_grows() -> None:
    # Short and long ones, and pairs that differ by a NUL at the end or in one byte of the last eight.
    draw = random.Random(0)
    words = {draw.randbytes(draw.randrange(1, 40)) for _ in range(200_000)}
    words |= {word + b"\0" for word in list(words)[:50_000]}
    packed = pack([(word, index) for index, word in enumerate(words, start=1)])
    counter = native.NativeCounter(LIBRARY, GPT2, NO_SPECIALS)
    counter.add_counts(packed)
    counter.add_counts(packed)
    assert counts_of(counter.result()) == {word: 2 * index for index, word in enumerate(words, start=1)}


def test_where_a_pretoken_lies_in_a_table_differs_from_table_to_table_and_process_to_process() -> None:
    # What comes out in the order of the slots would be the same each time, were the hash's key the same.
    script = """
from hornbook.bpe import native, patterns, special
from hornbook.bpe.library import load
library = native.declare(load())
for _ in range(2):
    counter = native.NativeCounter(library, patterns.find_pattern("gpt2"), special.SpecialTokens({}))
    counter.add_text("".join(f" {number}" for number in range(500)).encode())
    print(counter.result().data.tobytes().decode())
"""
    orders = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        orders += [tuple(line.split()) for line in done.stdout.splitlines()]
    assert len(set(orders)) == 4
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(map(str, range(500))))}


def test_counts_go_past_32_bits() -> None:
    counter = native.NativeCounter(LIBRARY, GPT2, NO_SPECIALS)
    for _ in range(3):
        counter.add_counts(pack([(b"short", 2**40), (b"longer than sixteen bytes", 2**61)]))
    assert counts_of(counter.result()) == {b"short": 3 * 2**40, b"longer than sixteen bytes": 3 * 2**61}


def pack(words: Sequence[tuple[bytes, int]]) -> PackedCounts:
    data = np.frombuffer(b"".join(word for word, _ in words), np.uint8)
    ends = np.cumsum([len(word) for word, _ in words], dtype=np.int64)
    return PackedCounts(data, ends, np.array([count for _, count in words], np.int64))


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
