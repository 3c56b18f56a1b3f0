"""Cut text into pretokens, the words that merges never cross, as GPT-2 does."""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex  # type: ignore[import-untyped]

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pattern (Radford et al. 2019, encoder.py), in the syntax of the package `regex`.

What counts as a letter, number or white space is the Unicode version of the installed `regex`.
"""

# The same language over ASCII. Letters come first because most pretokens are words and no other
# alternative starts with a letter. The standard library's engine runs it at 23 MB/s where `regex` runs
# the pattern above at 10 MB/s, and most text is ASCII nearly everywhere.
_ASCII_PATTERN = re.compile(
    r" ?[A-Za-z]+|'(?:[sdmt]|ll|ve|re)| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)


@cache
def unicode_pattern() -> "regex.Pattern[str]":
    """`GPT2_PATTERN`, compiled at the first call."""
    import regex  # here, because it takes 70 ms to import, and not every program makes a tokenizer

    return regex.compile(GPT2_PATTERN)


def pretokenize(text: str) -> list[str]:
    """Cut `text` by `GPT2_PATTERN`; joined, the pretokens are the text again.

    Example:
        >>> pretokenize("We'll see:  3 cats")
        ['We', "'ll", ' see', ':', ' ', ' 3', ' cats']
    """
    pretokens: list[str] = (_ASCII_PATTERN if text.isascii() else unicode_pattern()).findall(text)
    return pretokens
