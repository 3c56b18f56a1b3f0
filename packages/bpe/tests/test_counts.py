"""Counts of pretokens: a value that adds up, compares, and survives a file or is refused."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import engine
from hornbook.bpe.counting import PureCounter, count_pretokens, in_order, is_ascending
from hornbook.bpe.counts import PretokenCounts, _digest
from hornbook.bpe.engine import PackedCounts
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.special import SpecialTokens

# Long common beginnings, zeros, one being the beginning of another.
words = st.binary(min_size=1, max_size=20) | st.builds(
    lambda part, times, end: part * times + end,
    st.sampled_from([b"\0", b"a", b"ab", b"\xff"]),
    st.integers(1, 150),
    st.sampled_from([b"", b"\0", b"\0\0", b"b", b"\xff"]),
)
tables = st.dictionaries(words, st.integers(1, 2**62 // 100), max_size=15)
texts = st.text("ab é日🙂\n'", max_size=40)


def pack(table: dict[bytes, int]) -> PackedCounts:
    return PackedCounts(
        np.frombuffer(b"".join(table), np.uint8),
        np.cumsum([len(word) for word in table], dtype=np.int64),
        np.array(list(table.values()), np.int64),
    )


def counts_of(table: dict[bytes, int], num_bytes: int = 0) -> PretokenCounts:
    return PretokenCounts.from_packed("gpt2", ["<e>"], [pack(table)], num_bytes)


def count(*texts: str, specials: list[str] | None = None, pattern: str = "gpt2") -> PretokenCounts:
    return count_pretokens(iter(texts), specials or [], pattern=pattern, num_threads=1)


NEW_COUNTERS = [
    pytest.param(lambda: engine.new_counter(find_pattern("gpt2"), SpecialTokens({})), id="engine"),
    pytest.param(lambda: PureCounter(find_pattern("gpt2"), SpecialTokens({})), id="pure Python"),
]


def sorted_together(new_counter: Callable[[], engine.Counter], parts: list[dict[bytes, int]]) -> PackedCounts:
    counters = [new_counter() for _ in parts]
    for counter, table in zip(counters, parts, strict=True):
        counter.add_counts(pack(table))
    return in_order(counters)


def assert_same(packed: PackedCounts, expected: PackedCounts) -> None:
    assert packed.data.tobytes() == expected.data.tobytes()
    assert packed.ends.tolist() == expected.ends.tolist()
    assert packed.counts.tolist() == expected.counts.tolist()


@pytest.mark.parametrize("new_counter", NEW_COUNTERS)
@settings(deadline=None, max_examples=200)
@given(st.lists(tables, min_size=1, max_size=4))
def test_words_are_sorted_as_python_sorts_bytes(
    new_counter: Callable[[], engine.Counter], parts: list[dict[bytes, int]]
) -> None:
    expected = dict(sorted(sum(map(Counter, parts), Counter[bytes]()).items()))
    assert_same(sorted_together(new_counter, parts), pack(expected))


def test_many_words_that_begin_alike_are_sorted() -> None:
    # So many that they are sorted byte by byte, and beyond the fifteenth by comparing.
    beginnings = [b"", b"a", b"a\0", b"\0" * 14, b"same" * 4, b"same" * 5, b"\xff" * 20]
    words = {beginning + end.to_bytes(2, "big"): end + 1 for beginning in beginnings for end in range(300)}
    shuffled = dict(random.Random(0).sample(list(words.items()), len(words)))
    packed = sorted_together(lambda: engine.new_counter(find_pattern("gpt2"), SpecialTokens({})), [shuffled])
    assert_same(packed, pack(dict(sorted(words.items()))))


@pytest.mark.parametrize("ascends", [engine.is_ascending, is_ascending])
@settings(deadline=None, max_examples=200)
@given(st.lists(words, max_size=6), st.booleans())
def test_ascending_order_is_recognised(
    ascends: Callable[[Any, Any], bool], keys: list[bytes], is_sorted: bool
) -> None:
    if is_sorted:
        keys.sort()
    data, ends = (
        np.frombuffer(b"".join(keys), np.uint8),
        np.cumsum([len(key) for key in keys], dtype=np.int64),
    )
    assert ascends(data, ends) == all(a < b for a, b in pairwise(keys))


def test_words_of_a_million_letters_that_differ_in_the_last_are_sorted() -> None:
    keys = [b"a" * 1_000_000 + letter for letter in (b"c", b"a", b"", b"b")]
    words = [word for word, _ in counts_of(dict.fromkeys(keys, 1)).items()]
    assert [word[1_000_000:] for word in words] == [b"", b"a", b"b", b"c"]


@settings(deadline=None)
@given(tables)
def test_counts_give_back_what_was_counted(table: dict[bytes, int]) -> None:
    counts = counts_of(table)
    assert list(counts.items()) == sorted(table.items())
    assert len(counts) == len(table)


@settings(deadline=None, max_examples=50)
@given(tables, tables, tables)
def test_sums_do_not_depend_on_the_order_and_are_sums(
    one: dict[bytes, int], two: dict[bytes, int], three: dict[bytes, int]
) -> None:
    a, b, c = counts_of(one, 1), counts_of(two, 10), counts_of(three, 100)
    assert a + b + c == c + (b + a) == b + (c + a)
    assert dict((a + b + c).items()) == Counter(one) + Counter(two) + Counter(three)
    assert (a + b + c).num_bytes == 111
    assert a + counts_of({}) == a
    assert sum([a, b, c]) == a + b + c


@settings(deadline=None)
@given(st.lists(texts), st.lists(st.integers(0, 10)), st.sampled_from(["gpt2", "cl100k", r"\w"]))
def test_counts_of_parts_add_up_to_the_counts_of_the_whole(
    documents: list[str], borders: list[int], pattern: str
) -> None:
    # A special token ends each document, so they may go to any machine.
    documents = [document + "<e>" for document in documents]
    whole = count(*documents, specials=["<e>"], pattern=pattern)
    total = count(specials=["<e>"], pattern=pattern)
    for document in reversed(documents):
        total += count(document, specials=["<e>"], pattern=pattern)
    assert total == whole


@settings(deadline=None)
@given(st.lists(texts), tables, st.sampled_from(["gpt2", "cl100k", r"\w+"]))
def test_the_engines_count_alike(blocks: list[str], table: dict[bytes, int], pattern: str) -> None:
    specials = SpecialTokens({"a": 0, "ab": 1})
    results = []
    for counter in (
        engine.new_counter(find_pattern(pattern), specials),
        PureCounter(find_pattern(pattern), specials),
    ):
        for block in blocks:
            counter.add_text(block.encode())
        counter.add_counts(pack(table))
        results.append(PretokenCounts.from_packed(pattern, [], [counter.result()], 0))
        assert len(counter) == len(results[-1])
    assert results[0] == results[1]


def test_different_counts_are_not_equal() -> None:
    counts = counts_of({b"a": 1, b"bc": 2}, 5)
    assert counts == counts_of({b"bc": 2, b"a": 1}, 5)
    assert counts != counts_of({b"a": 1, b"bc": 3}, 5)
    assert counts != counts_of({b"a": 1, b"bd": 2}, 5)
    assert counts != counts_of({b"ab": 1, b"c": 2}, 5)
    assert counts != counts_of({b"a": 1, b"bc": 2}, 6)
    assert counts != "counts"
    assert count("a") != count("a", pattern="cl100k")
    assert count("a") != count("a", specials=["<e>"])


def test_counts_of_different_kinds_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="counts with pattern 'gpt2' and 'cl100k' do not add up"):
        count("a") + count("a", pattern="cl100k")
    with pytest.raises(ValueError, match=r"counts with special_tokens \['a'\] and \[\] do not add up"):
        count("a", specials=["a"]) + count("a")
    # The order of special tokens is that of their ids.
    with pytest.raises(ValueError, match=r"counts with special_tokens \['a', 'b'\] and \['b', 'a'\]"):
        count("a", specials=["a", "b"]) + count("a", specials=["b", "a"])
    with pytest.raises(TypeError, match="unsupported operand"):
        count("a") + 1  # type: ignore[operator]


def test_a_sum_beyond_64_bits_is_refused() -> None:
    most = counts_of({b"ab": 2**62})
    with pytest.raises(OverflowError, match="counts of 4611686018427387904 and 46116860184273"):
        most + most


def test_counts_cannot_be_changed() -> None:
    counts = count("a b")
    for array in (counts.data, counts.ends, counts.counts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@settings(deadline=None, max_examples=50)
@given(table=tables)
def test_saved_counts_are_loaded_and_equal_counts_are_equal_files(
    table: dict[bytes, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("counts")
    counts = counts_of(table, 2**40)
    counts.save(folder / "one.counts")
    assert PretokenCounts.load(folder / "one.counts") == counts
    counts_of(dict(reversed(table.items())), 2**40).save(str(folder / "two.counts"))
    assert (folder / "one.counts").read_bytes() == (folder / "two.counts").read_bytes()


def test_the_file_can_be_read_by_hand(tmp_path: Path) -> None:
    counts = count("a b a<e>", specials=["<e>"])
    counts.save(tmp_path / "counts")
    line, rest = (tmp_path / "counts").read_bytes().split(b"\n", 1)
    header = json.loads(line)
    assert (header["format"], header["format_version"]) == ("hornbook.bpe counts", 1)
    assert (header["pattern"], header["special_tokens"]) == ("gpt2", ["<e>"])
    assert (header["num_pretokens"], header["data_bytes"], header["num_bytes"]) == (3, 5, 8)
    assert np.frombuffer(rest[:24], "<i8").tolist() == [2, 4, 5]
    assert np.frombuffer(rest[24:48], "<i8").tolist() == [1, 1, 1]
    assert rest[48:] == b" a ba"


def test_saving_replaces_the_whole_file_or_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "counts"
    count("old").save(path)

    def fail(_: int) -> None:
        msg = "disk full"
        raise OSError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            count("new").save(path)
    assert PretokenCounts.load(path) == count("old")
    assert os.listdir(tmp_path) == ["counts"]  # noqa: PTH208 - names are what is compared
    count("new").save(path)
    assert PretokenCounts.load(path) == count("new")
    assert os.listdir(tmp_path) == ["counts"]  # noqa: PTH208


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    count("some text<e>", specials=["<e>"]).save(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="holds no counts of pretokens: "):
            PretokenCounts.load(path)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="holds no counts of pretokens: "):
            PretokenCounts.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=f"it should have {len(whole)} bytes and has {len(whole) + 1}"):
        PretokenCounts.load(path)


def rewritten(path: Path, change: Callable[[dict[str, Any], list[Any]], object]) -> None:
    """Write wrong counts with the right checksum."""
    line, rest = path.read_bytes().split(b"\n", 1)
    header = json.loads(line)
    del header["sha256"]
    n = header["num_pretokens"]
    arrays = [np.frombuffer(rest[: 8 * n], "<i8").copy(), np.frombuffer(rest[8 * n : 16 * n], "<i8").copy()]
    arrays.append(np.frombuffer(rest[16 * n :], np.uint8).copy())
    change(header, arrays)
    header["sha256"] = _digest(header, arrays)
    path.write_bytes(json.dumps(header).encode() + b"\n" + b"".join(array.tobytes() for array in arrays))


def put(array: int, index: int, value: int) -> Callable[[dict[str, Any], list[Any]], object]:
    return lambda _, arrays: arrays[array].__setitem__(index, value)


def field(**fields: object) -> Callable[[dict[str, Any], list[Any]], object]:
    return lambda header, _: header.update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(1, 0, -1), "the count of pretoken 0 must be at least 1, got -1"),
        (put(1, 2, 0), "the count of pretoken 2 must be at least 1, got 0"),
        (put(1, 1, 2**63 - 1), "its counts do not add up within 64 bits"),
        (put(0, 1, 1), "pretoken 1 ends before it begins or is empty"),
        (put(0, 0, 3), "pretoken 1 ends before it begins or is empty"),
        (put(0, 0, -3), "pretoken 0 ends before it begins or is empty"),
        (put(0, 2, 4), "its pretokens end at 4 and its data at 5"),
        (put(2, 0, ord("c")), "its pretokens are not in ascending order or not different"),
        (
            lambda _, arrays: arrays[2][:].fill(98),
            "its pretokens are not in ascending order or not different",
        ),
        (field(format_version=2), "its format_version is 2, this program reads 1"),
        (field(format="other"), "it does not begin with a line of JSON with format"),
        (field(pattern="gpt5"), "pattern must be one of .* got 'gpt5'"),
        (field(pattern=5), "pattern must be a str"),
        (field(regex="a+"), "pattern 'gpt2' was 'a[+]' and is"),
        (field(special_tokens=["a", "a"]), "special token 'a' is given twice"),
        (field(special_tokens=None), "special_tokens must be a sequence"),
        (field(num_bytes=-1), "num_bytes must be a whole number, got -1"),
        (field(num_pretokens=10**18), "it should have 160000000000"),
        (field(data_bytes=5.0), "data_bytes must be a whole number, got 5.0"),
        (lambda header, _: header.pop("pattern"), "pattern is missing from its first line"),
    ],
)
def test_wrong_counts_are_refused_even_with_the_right_checksum(
    change: Callable[[dict[str, Any], list[Any]], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "my.counts"
    counts_of({b"a": 3, b"bb": 2, b"cc": 1}).save(path)
    rewritten(path, lambda *_: None)
    assert len(PretokenCounts.load(path)) == 3
    rewritten(path, change)
    with pytest.raises(ValueError, match=rf"my\.counts holds no counts of pretokens: {message}"):
        PretokenCounts.load(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        PretokenCounts.load(tmp_path / "nothing")
    (tmp_path / "deep").write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match="it does not begin with a line of JSON"):
        PretokenCounts.load(tmp_path / "deep")


def test_the_representation_says_what_was_counted() -> None:
    assert repr(count("a b<e>", specials=["<e>"])) == (
        "PretokenCounts(2 different pretokens, 6 bytes of text, pattern='gpt2', special_tokens=['<e>'])"
    )


@pytest.mark.parametrize(
    ("ends", "counts", "message"),
    [
        (np.array([10**9]), np.array([1]), "its pretokens end at 1000000000 and its data at 2"),
        (np.array([2, 1, 2]), np.array([1, 1, 1]), "pretoken 1 ends before it begins"),
        (np.array([2]), np.array([0]), "the count of pretoken 0 must be at least 1, got 0"),
        (np.array([2], np.int32), np.array([1]), "ends must be an array of int64"),
        ([2], np.array([1]), "ends must be an array of int64"),
    ],
)
def test_counts_that_nobody_counted_are_refused(ends: Any, counts: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        PretokenCounts("gpt2", [], np.frombuffer(b"ab", np.uint8), ends, counts, 2)


def test_arrays_and_lists_of_the_caller_stay_the_callers() -> None:
    data, ends, number, specials = (
        np.frombuffer(b"ab", np.uint8).copy(),
        np.array([2]),
        np.array([1]),
        ["<e>"],
    )
    counts = PretokenCounts("gpt2", specials, data, ends, number, 2)
    ends[:], data[:] = 2, ord("a")  # still writable
    specials.append("z")
    assert counts.special_tokens == ["<e>"]
