"""Pretokens: those of the patterns, whoever runs them."""

import itertools
import pickle
from functools import cache
from typing import Any

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import unicode_classes
from hornbook.bpe.patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, Pattern, find_pattern

GPT2 = find_pattern("gpt2")
EVERY_CHARACTER = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))

# Characters of all kinds that the patterns tell apart, within and beyond U+FFFF.
FRAGMENTS = [
    *[
        "a",
        "B",
        "é",
        "ǅ",
        "日",
        "ʰ",
        "\u0301",
        "7",
        "½",
        "٣",
        "'s",
        "'LL",
        "'\u017f",
        "'",
        "!",
        "。",
        "_",
        "/",
    ],
    *[
        "/",
        "\x1c",
        "\0",
        "\ufeff",
        "\U0001d49c",
        "𐒀",
        "\U0001d7d9",
        "🙂",
        "\U000e0001",
        "\uffff",
        "\U0010ffff",
    ],
    *[" ", " ", "  ", "\n", "\r\n", "\r", "\t", "\x0b", "\x85", "\xa0", "\u1680", "\u2009", "\u200b"],
    *["\u2028", "\u202f", "\u3000"],
]
texts = st.lists(st.sampled_from(FRAGMENTS)).map("".join) | st.text(max_size=20)
CUSTOM = [r"\w+", r"(a)|(b+)", r"a*", r"(?=b)", r".(?=a)", r"(?<=a)\s", r"[^a]\Kb", r"$", r"\p{Lu}(?i:b)"]


def pinned(ranges: tuple[tuple[int, int], ...]) -> str:
    return "".join(chr(code) for first, last in ranges for code in range(first, last + 1))


@cache
def regex_has_the_pinned_version() -> bool:
    return pinned(unicode_classes.LETTERS) == "".join(regex.findall(r"\p{L}", EVERY_CHARACTER))


def needs_the_pinned_version() -> None:
    if not regex_has_the_pinned_version():
        pytest.skip(f"the installed regex does not have Unicode {unicode_classes.UNICODE_VERSION}")


def test_the_ascii_pattern_agrees_with_gpt2s_on_all_short_strings() -> None:
    # one character of each kind that the pattern tells apart, and all the letters of contractions
    for letters in itertools.product("az0 \n\x0b\x1c\x1f!_\x7f\0", repeat=4):
        text = "".join(letters)
        assert GPT2.split(text) == regex.findall(GPT2_PATTERN, text), text
    for letters in itertools.product("a'sdmtlvre", repeat=4):
        text = "".join(letters)
        assert GPT2.split(text) == regex.findall(GPT2_PATTERN, text), text


@pytest.mark.parametrize("frame", ["a{}é", "½{} "])
def test_gpt2s_pretokens_agree_with_regex_about_every_character(frame: str) -> None:
    needs_the_pinned_version()
    # Beyond U+33FFF are hardly any characters yet: one code point in a hundred of those.
    for characters in (
        EVERY_CHARACTER[:0xF800],
        EVERY_CHARACTER[0xF800:0x33800],
        EVERY_CHARACTER[0x33800::101],
        EVERY_CHARACTER[0xDF800:0xE0000],
    ):
        text = "".join(map(frame.format, characters))
        assert GPT2.split(text) == regex.findall(GPT2_PATTERN, text)
    for character in EVERY_CHARACTER[:0x800]:
        text = frame.format(character)
        assert GPT2.split(text) == regex.findall(GPT2_PATTERN, text), text


@settings(deadline=None, max_examples=300)
@given(texts)
def test_gpt2s_pretokens_agree_with_regex_on_any_text(text: str) -> None:
    needs_the_pinned_version()
    assert GPT2.split(text) == regex.findall(GPT2_PATTERN, text)


def test_the_pinned_classes_are_those_of_the_version_they_name() -> None:
    needs_the_pinned_version()
    assert pinned(unicode_classes.NUMBERS) == "".join(regex.findall(r"\p{N}", EVERY_CHARACTER))
    assert pinned(unicode_classes.SPACES) == "".join(regex.findall(r"\s", EVERY_CHARACTER))


@pytest.mark.parametrize(
    ("name", "pretokens"),
    [
        (
            "gpt2",
            ["I", "'ve", " 12345", " cats", ",", "\n", "\n", "DON", "'", "T"],
        ),
        (
            "cl100k",
            ["I", "'ve", " ", "123", "45", " cats", ",\n\n", "DON", "'T"],
        ),
        (
            "o200k",
            ["I've", " ", "123", "45", " cats", ",\n\n", "DON'T"],
        ),
    ],
)
def test_the_named_patterns_differ_as_their_models_do(name: str, pretokens: list[str]) -> None:
    assert find_pattern(name).split("I've 12345 cats,\n\nDON'T") == pretokens


@settings(deadline=None, max_examples=300)
@given(texts, st.sampled_from([CL100K_PATTERN, O200K_PATTERN]))
def test_the_other_named_patterns_are_run_by_regex_and_skip_nothing(text: str, pattern: str) -> None:
    assert find_pattern(pattern).split(text) == [match[0] for match in regex.finditer(pattern, text)]


@settings(deadline=None, max_examples=300)
@given(st.text("abc \nAé", max_size=12) | texts, st.sampled_from(["gpt2", "cl100k", "o200k", *CUSTOM]))
def test_pretokens_joined_are_the_text_and_none_is_empty(text: str, pattern: str) -> None:
    pretokens = find_pattern(pattern).split(text)
    assert "".join(pretokens) == text
    assert "" not in pretokens


@pytest.mark.parametrize(
    ("pattern", "text", "pretokens"),
    [
        (r"\w+", "--ab, cd", ["--", "ab", ", ", "cd"]),  # skipped before and between
        (r"\w+", "ab--", ["ab", "--"]),  # and after
        (r"\w+", "--", ["--"]),
        (r"(a)(b)?", "xabay", ["x", "ab", "a", "y"]),  # groups are not what counts
        (r"a*", "baab", ["b", "aa", "b"]),  # matches of nothing are dropped
        (r"(?=b)", "abab", ["abab"]),  # and cut nothing
        (r"\s+(?!\S)|\S+", "a  b", ["a", " ", " ", "b"]),
        (r"[^a]\Kb", "ab-b", ["ab-", "b"]),
        (r"b(?i:C)", "bcbCBc", ["bc", "bC", "Bc"]),
    ],
)
def test_what_a_regex_skips_becomes_a_pretoken(pattern: str, text: str, pretokens: list[str]) -> None:
    assert find_pattern(pattern).split(text) == pretokens


@settings(deadline=None, max_examples=300)
@given(texts, st.sampled_from(["gpt2", "cl100k", "o200k", *CUSTOM]))
def test_spans_end_where_the_pretokens_do_in_bytes(text: str, name: str) -> None:
    pattern = find_pattern(name)
    lengths = [len(pretoken.encode()) for pretoken in pattern.split(text)]
    assert pattern.spans(text.encode()).tolist() == list(itertools.accumulate(lengths))


def test_a_pattern_is_found_by_name_and_by_regex_and_goes_to_other_processes() -> None:
    for name, text in (("gpt2", GPT2_PATTERN), ("cl100k", CL100K_PATTERN), ("o200k", O200K_PATTERN)):
        assert find_pattern(name) == find_pattern(text) == Pattern(name, text)
        assert find_pattern(name).key == name
    custom = find_pattern(r"\w+|\W+")
    assert (custom.name, custom.key) == ("custom", r"\w+|\W+")
    custom.split("a b")
    assert pickle.loads(pickle.dumps(custom)) == custom == find_pattern(custom.key)


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        (None, TypeError, r"pattern must be a str, a name \(gpt2, cl100k, o200k\) or a regex, got None"),
        (rb"\w+", TypeError, "pattern must be a str"),
        ("(a", ValueError, r"or a regex of the package regex, got '\(a': missing \)"),
        ("[", ValueError, "unterminated character set"),
        ("gpt4", ValueError, "pattern must be one of gpt2, cl100k, o200k or a regex, .* got 'gpt4'"),
        ("", ValueError, "got ''"),
        (r"(?r)\w+", ValueError, r"searches backwards; take \(\?r\) out of it"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find_pattern(pattern)


@pytest.mark.parametrize("name", ["cl100k_base", "gpt-2", "gpt2 ", "r50k_base", "o200k.base", ""])
def test_a_name_that_is_none_is_not_taken_for_a_regex(name: str) -> None:
    with pytest.raises(ValueError, match="pattern must be one of gpt2, cl100k, o200k or a regex"):
        find_pattern(name)
