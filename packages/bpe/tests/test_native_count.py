"""The compiled core's counters beside the one in pure Python."""

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
from hornbook.bpe.engine import PackedCounts
from hornbook.bpe.patterns import Pattern
from native_parts import CL100K, FORMS, GPT2, LIBRARY, NO_SPECIALS, SPECIALS, TEXTS


def counts_of(packed: PackedCounts) -> dict[bytes, int]:
    data, starts = packed.data.tobytes(), [0, *packed.ends.tolist()]
    found = {
        data[start:end]: count
        for start, end, count in zip(starts, packed.ends.tolist(), packed.counts.tolist(), strict=False)
    }
    assert len(found) == len(packed.ends)
    return found


def pack(words: Sequence[tuple[bytes, int]]) -> PackedCounts:
    data = np.frombuffer(b"".join(word for word, _ in words), np.uint8)
    ends = np.cumsum([len(word) for word, _ in words], dtype=np.int64)
    return PackedCounts(data, ends, np.array([count for _, count in words], np.int64))


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


def slot_numbers(words: NDArray[np.uint64], key: NDArray[np.uint64], num_bits: int) -> NDArray[np.uint64]:
    """Where words are looked for, by table.h's formula; a row of `words` is the two halves of a key."""
    hashes: NDArray[np.uint64] = (words * (key | np.uint64(1))).sum(-1, dtype=np.uint64)
    return hashes >> np.uint64(64 - num_bits)


def test_a_corpus_made_to_collide_under_one_key_spreads_under_others() -> None:
    draw = np.random.default_rng(0)
    texts = draw.integers(97, 123, (1 << 21, 16), np.uint8)
    texts[:, 15] = 15  # the size, where the core has it
    words = texts.view(np.uint64)
    known = draw.integers(0, 1 << 64, 2, np.uint64)
    flood = words[slot_numbers(words, known, 14) == 1]  # a table begins with 2^14 slots
    assert len(flood) > 80
    # The formula is the core's: words come out in the order of their slots.
    some = words[:300]
    numbers = slot_numbers(some, known, 14)
    assert len(set(numbers.tolist())) > 290
    handle = native.Handle(LIBRARY, "counter", known.ctypes.data, -1)
    data, ends = some.view(np.uint8).reshape(-1, 16)[:, :15].copy(), np.arange(15, 4501, 15)
    LIBRARY.hb_count_words(handle.address, data.ctypes.data, ends.ctypes.data, None, 300)
    found = native._room(300, 4500)
    LIBRARY.hb_counter_words(handle.address, *[array.ctypes.data for array in found])
    alone = [word.tobytes() for word in data[np.argsort(numbers, kind="stable")]]
    ours = [row.tobytes() for row in found.data.reshape(-1, 15)]
    assert sum(one == other for one, other in zip(ours, alone, strict=True)) > 280
    for _ in range(50):
        crowded = np.bincount(slot_numbers(flood, draw.integers(0, 1 << 64, 2, np.uint64), 14).astype(int))
        assert crowded.max() <= 4


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
