"""Pretokens, special tokens and the places where text may be cut."""

import itertools
from pathlib import Path

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import GPT2_PATTERN
from hornbook.bpe.cuts import _WIDE_SPACES, blocks, byte_cuts, file_pieces, text_cuts
from hornbook.bpe.pretokenize import pretokenize
from hornbook.bpe.special import SpecialSplitter

FRAGMENTS = [
    *["a", "B", "é", "日", "7", "½", "'s", "'ll", "'", "!", "。", "_", "\x1c", "\0", "\ufeff", "\u0301"],
    *[" ", " ", "  ", "\n", "\r\n", "\t", "\x0b", "\x85", "\xa0", "\u1680", "\u2000", "\u2009", "\u200b"],
    *["\u2028", "\u202f", "\u205f", "\u3000", "<e>", "<e><e>", "<e", "e>", "b c", " x ", "aba", "ab"],
]
SPECIALS = ["<e>", "<e><e>", "b c", " x ", "aba", "bab", "\n\n", "é日", "'s", "c\ta "]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.sampled_from(SPECIALS)).map("".join) | st.text(max_size=20)
special_lists: st.SearchStrategy[list[str]] = st.just([]) | st.lists(
    st.sampled_from(SPECIALS), unique=True, min_size=4
)


def reference(text: str, specials: list[str]) -> list[str]:
    """Pretokens and special tokens, one character at a time and without any cut."""
    result, ordinary, place = [], "", 0
    while place < len(text):
        here = max((s for s in specials if text.startswith(s, place)), key=len, default="")
        if here:
            result += [*regex.findall(GPT2_PATTERN, ordinary), here]
            ordinary = ""
        else:
            ordinary += text[place]
        place += len(here) or 1
    return [*result, *regex.findall(GPT2_PATTERN, ordinary)]


def ours(parts: list[str], specials: list[str]) -> list[str]:
    splitter = SpecialSplitter(specials)
    result = []
    for part in parts:
        for index, segment in enumerate(splitter.split(part)):
            result += pretokenize(segment) if index % 2 == 0 else [segment]
    return result


def test_the_ascii_pattern_agrees_with_gpt2s_on_all_short_strings() -> None:
    # one character of each kind that the pattern tells apart, and all the letters of contractions
    for letters in itertools.product("az0 \n\x0b\x1c\x1f!_\x7f\0", repeat=4):
        text = "".join(letters)
        assert pretokenize(text) == regex.findall(GPT2_PATTERN, text), text
    for letters in itertools.product("a'sdmtlvre", repeat=4):
        text = "".join(letters)
        assert pretokenize(text) == regex.findall(GPT2_PATTERN, text), text


def test_the_ascii_pattern_agrees_with_gpt2s_about_every_character() -> None:
    for character in map(chr, range(128)):
        for text in (
            f"a{character}a",
            f" {character} ",
            f"0{character}0",
            f"!{character}!",
            f"\n{character}\n",
        ):
            assert pretokenize(text) == regex.findall(GPT2_PATTERN, text), text


@settings(deadline=None)
@given(texts)
def test_pretokens_joined_are_the_text(text: str) -> None:
    assert "".join(pretokenize(text)) == text


@settings(deadline=None, max_examples=300)
@given(texts, special_lists, st.integers(1, 6), st.data())
def test_blocks_have_the_pretokens_of_the_whole_wherever_chunks_end(
    text: str, specials: list[str], size: int, data: st.DataObject
) -> None:
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in itertools.pairwise([0, *borders, len(text)])]
    parts = list(blocks(chunks, text_cuts(specials), size))
    assert "".join(parts) == text
    assert ours(parts, specials) == reference(text, specials)


def test_a_special_token_that_has_not_arrived_in_full_is_waited_for() -> None:
    parts = list(blocks(["aab ", "c d"], text_cuts(["b c"]), size=2))
    assert ours(parts, ["b c"]) == ["aa", "b c", " d"]


def test_white_space_outside_ascii_is_what_the_pattern_takes_for_it() -> None:
    every_character = "".join(map(chr, [*range(128, 0xD800), *range(0xE000, 0x110000)]))
    assert "".join(regex.findall(r"\s", every_character)) == _WIDE_SPACES


@settings(deadline=None, max_examples=300)
@given(texts, special_lists, st.integers(1, 6))
def test_bytes_are_cut_at_places_where_no_pretoken_changes(text: str, specials: list[str], size: int) -> None:
    data = text.encode(errors="replace")
    cuts = byte_cuts(specials)
    parts, begin = [], 0
    while (cut := cuts.first(data, begin + size)) is not None:
        parts.append(data[begin:cut].decode())
        begin = cut
    parts.append(data[begin:].decode())
    assert ours(parts, specials) == reference(data.decode(), specials)


@pytest.mark.parametrize(
    ("text", "specials", "cuts"),
    [
        ("one two", [], [3]),
        ("one  two", [], [3]),  # not between two spaces: the second belongs to "two"
        ("一。\n二", [], [2]),
        ("a\u3000 b", [], []),
        ("a\x1cb", [], []),
        ("a<e>b", ["<e>"], [1]),
        ("a b c", ["b c"], [1, 2]),  # before the special token, never inside it
        ("ababa", ["ab", "ba"], []),  # at 2 "ab" starts, but "ba" lies across
        ("aaaa", [], []),
    ],
)
def test_cuts_are_where_they_may_be_and_only_there(text: str, specials: list[str], cuts: list[int]) -> None:
    finder = text_cuts(specials)
    found = {cut for start in range(1, len(text) + 1) if (cut := finder.first(text, start)) is not None}
    assert sorted(found) == cuts
    data = text.encode()
    in_bytes = byte_cuts(specials)
    places = [c for start in range(1, len(data) + 1) if (c := in_bytes.first(data, start)) is not None]
    assert sorted({len(data[:cut].decode()) for cut in places}) == cuts


def test_pieces_of_a_file_cover_it_and_are_as_long_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("the 日本 cat<e>\r\n ".encode() * 100)
    pieces = file_pieces(path, ["<e>"], 50)
    assert [start for start, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
    assert pieces[-1][1] == path.stat().st_size
    assert all(50 <= end - start < 80 for start, end in pieces[:-1])
