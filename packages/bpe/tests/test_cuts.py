"""Blocks: cut anywhere it is safe, and nowhere else."""

import itertools

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe.cuts import WIDE_SPACES, SafeCuts, byte_blocks
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.special import SpecialTokens

FRAGMENTS = [
    *[
        "a",
        "B",
        "é",
        "日",
        "7",
        "½",
        "'s",
        "'ll",
        "'",
        "!",
        "/",
        "。",
        "\x1c",
        "\0",
        "\ufeff",
        "\u0301",
        "🙂",
    ],
    *["🙂", " ", " ", "  ", "\n", "\r\n", "\r", "\t", "\x0b", "\x0c", *WIDE_SPACES, "\u200b"],
    *["<e>", "<e><e>", "<e", "e>", "b c", " x ", "aba", "ab"],
]
SPECIALS = ["<e>", "<e><e>", "b c", " x ", "aba", "bab", "\n\n", "é日", "'s", "c\ta "]
PATTERNS = ["gpt2", "cl100k", "o200k", r"\S+ \S+|(?<=a)b+(?=\s)", r"(?s).(?!\Z)", "[ab]+"]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.sampled_from(SPECIALS)).map("".join) | st.text(max_size=20)
special_lists: st.SearchStrategy[list[str]] = st.just([]) | st.lists(
    st.sampled_from(SPECIALS), unique=True, min_size=1
)


def reference(text: str, specials: list[str], pattern: str) -> list[str]:
    """Pretokens and special tokens, one character at a time and without any cut."""
    split = find_pattern(pattern).split
    result, ordinary, place = [], "", 0
    while place < len(text):
        here = max((s for s in specials if text.startswith(s, place)), key=len, default="")
        if here:
            result += [*split(ordinary), here]
            ordinary = ""
        else:
            ordinary += text[place]
        place += len(here) or 1
    return [*result, *split(ordinary)]


def ours(parts: list[bytes], specials: list[str], pattern: str) -> list[str]:
    splitter = SpecialTokens(dict.fromkeys(specials, 0))
    result = []
    for part in parts:
        for index, segment in enumerate(splitter.split(part.decode())):
            result += find_pattern(pattern).split(segment) if index % 2 == 0 else [segment]
    return result


def chunked(text: bytes, borders: list[int]) -> list[bytes]:
    return [text[a:b] for a, b in itertools.pairwise([0, *sorted(borders), len(text)])]


@settings(deadline=None, max_examples=500)
@given(texts, special_lists, st.sampled_from(PATTERNS), st.integers(1, 30), st.data())
def test_blocks_have_the_pretokens_of_the_whole_wherever_chunks_end(
    text: str, specials: list[str], pattern: str, size: int, data: st.DataObject
) -> None:
    encoded = text.encode()
    chunks = chunked(encoded, data.draw(st.lists(st.integers(0, len(encoded)))))
    parts = list(byte_blocks(chunks, SafeCuts(find_pattern(pattern), specials), size))
    assert b"".join(parts) == encoded
    assert b"" not in parts
    assert ours(parts, specials, pattern) == reference(text, specials, pattern)


@settings(deadline=None, max_examples=500)
@given(texts, special_lists, st.sampled_from(PATTERNS), st.integers(0, 12), st.integers(0, 12))
def test_a_cut_is_safe_whatever_surrounds_the_bytes_it_was_found_in(
    text: str, specials: list[str], pattern: str, before: int, after: int
) -> None:
    encoded = text.encode()
    end = len(encoded) - after
    cut = SafeCuts(find_pattern(pattern), specials).last(encoded[before:end])
    if cut is not None:
        parts = [encoded[: before + cut], encoded[before + cut :]]
        assert ours(parts, specials, pattern) == reference(text, specials, pattern)


def test_white_space_outside_ascii_is_what_the_patterns_take_for_it() -> None:
    every_character = "".join(map(chr, [*range(128, 0xD800), *range(0xE000, 0x110000)]))
    assert "".join(regex.findall(r"\s", every_character)) == WIDE_SPACES


@pytest.mark.parametrize(
    ("text", "specials", "pattern", "cut"),
    [
        ("xxx one two", [], "gpt2", "xxx one"),
        ("xxx one  two", [], "gpt2", "xxx one"),  # not between two spaces: the second belongs to "two"
        ("xxx一。\n二", [], "gpt2", "xxx一。"),
        ("xxx一。\n二", [], "cl100k", None),  # "。\n" is one pretoken
        ("xxx\nb", [], "cl100k", "xxx"),  # a letter is never in one pretoken with the line end after it
        ("xxx一\n二", [], "o200k", "xxx一"),
        ("xxx\U0001d7d8\n二", [], "cl100k", "xxx\U0001d7d8"),
        ("xxx5\r\nb", [], "o200k", "xxx5"),
        ("xxx!\nb", [], "cl100k", None),
        ("xxxe\u0301\nb", [], "o200k", None),  # a mark is part of a word there, and may also stand for itself
        ("xxx\n\nb", [], "cl100k", "xxx"),  # not between the two
        ("xxx\ta", [], "cl100k", "xxx"),
        ("xxxa!\n b", [], "o200k", None),
        ("xxx\x1cb", [], "gpt2", None),  # as `regex` has it, U+001C is no white space
        *((f"xxx{space} b", [], "gpt2", None) for space in WIDE_SPACES),
        ("xxxa<e>b", ["<e>"], "gpt2", "xxxa"),
        ("xxxa<e>b", ["<e>"], r"\w", "xxxa"),
        ("xxx a", [], r"\w", None),
        ("xxxa b c..", ["b c"], "gpt2", "xxxa"),  # never inside a special token
        ("xxxa b c..", ["b c"], r"\w", "xxxa "),
        ("xxxababa", ["ab", "ba"], "gpt2", "xxx"),  # where one starts, another lies across
        ("xxxaaaa", [], "gpt2", None),
        ("xx a", [], "gpt2", None),  # before "xx" may be the rest of a wide space
    ],
)
def test_cuts_are_where_they_may_be(text: str, specials: list[str], pattern: str, cut: str | None) -> None:
    found = SafeCuts(find_pattern(pattern), specials).last(text.encode())
    assert (None if found is None else text.encode()[:found].decode()) == cut


def test_the_last_cut_is_found_far_from_the_end() -> None:
    cuts = SafeCuts(find_pattern("gpt2"), ["<e>"])
    assert cuts.last(b"some words " + b"a" * 5_000) == len("some words")
    assert cuts.last(b"some" + b"a" * 5_000 + b"<e>" + b"a" * 5_000) == 5_004


def test_blocks_of_ordinary_text_are_as_long_as_asked() -> None:
    text = "the 日本 cat<e>\r\n ".encode() * 1_000
    cuts = SafeCuts(find_pattern("gpt2"), ["<e>"])
    for step in (1, 7, 100, 1_000, len(text)):
        chunks = [text[begin : begin + step] for begin in range(0, len(text), step)]
        blocks = list(byte_blocks(chunks, cuts, 100))
        assert b"".join(blocks) == text
        assert all(40 < len(block) <= 220 for block in blocks[:-1])


def test_text_without_a_safe_cut_is_one_block_and_searched_once() -> None:
    class Counted(SafeCuts):
        searched = 0

        def last(self, text: bytes) -> int | None:
            self.searched += len(text)
            return super().last(text)

    cuts = Counted(find_pattern("gpt2"), [])
    text = b"a" * 100_000
    assert list(byte_blocks([text[:7]] * 10_000 + [text], cuts, 64)) == [b"a" * 170_000]
    assert cuts.searched == 170_000


def test_a_special_token_that_has_not_arrived_in_full_is_waited_for() -> None:
    cuts = SafeCuts(find_pattern("gpt2"), ["b c"])
    parts = list(byte_blocks([b"xxxaab ", b"c d"], cuts, size=7))
    assert ours(parts, ["b c"], "gpt2") == ["xxxaa", "b c", " d"]


def test_blocks_come_as_soon_as_there_is_enough_text() -> None:
    drawn = []

    def chunks() -> "itertools.chain[bytes]":
        return itertools.chain.from_iterable([drawn.append(n) or b"word " * 10] for n in range(100))  # type: ignore[func-returns-value]

    blocks = byte_blocks(chunks(), SafeCuts(find_pattern("gpt2"), []), 100)
    next(blocks)
    assert drawn == [0, 1]
