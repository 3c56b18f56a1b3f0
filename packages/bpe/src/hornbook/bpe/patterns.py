r"""Cut text into pretokens, the words that merges never cross.

GPT-2's classes (letter, number, white space) are pinned in `unicode_classes`, so the pretokens of a text are
the same whatever version of `regex` is installed. The other patterns are run by `regex`, with its classes.
"""

import re
import sys
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pattern (Radford et al. 2019, encoder.py), in the syntax of the package `regex`."""

CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
"""The pattern of GPT-3.5 and GPT-4 (tiktoken 0.14, cl100k_base)."""

O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern of GPT-4o (tiktoken 0.14, o200k_base)."""

_NAMED = {"gpt2": GPT2_PATTERN, "cl100k": CL100K_PATTERN, "o200k": O200K_PATTERN}

# GPT-2's language over ASCII. Letters come first because most pretokens are words and no other alternative
# starts with a letter. The standard library runs it at 23 MB/s where `regex` runs the original at 10 MB/s.
_GPT2_ASCII = re.compile(
    r" ?[A-Za-z]+|'(?:[sdmt]|ll|ve|re)| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
)


@dataclass(frozen=True)
class Pattern:
    """A way to cut text into pretokens; `find_pattern` makes it.

    Attributes:
        name: "gpt2", "cl100k", "o200k" or "custom".
        regex: The pattern in the syntax of `regex`.
    """

    name: str
    regex: str

    @property
    def key(self) -> str:
        """What `find_pattern` makes this pattern of: the name, or the regex of a custom one."""
        return self.regex if self.name == "custom" else self.name

    def split(self, text: str) -> list[str]:
        """The pretokens of `text`; joined, they are the text.

        What the regex skips becomes a pretoken of its own; matches of nothing cut nothing.

        Example:
            >>> find_pattern("gpt2").split("We'll see:  3 cats")
            ['We', "'ll", ' see', ':', ' ', ' 3', ' cats']
            >>> find_pattern(r"[a-z]+").split("see:  3 cats")
            ['see', ':  3 ', 'cats']
        """
        if self.name == "gpt2":
            return _split_gpt2(text)
        pretokens: list[str]
        if not self._compiled.groups:
            pretokens = self._compiled.findall(text)
            # Matches do not overlap: when their lengths add up, nothing was skipped.
            if sum(map(len, pretokens)) == len(text):
                return pretokens if "" not in pretokens else list(filter(None, pretokens))
        pretokens, begin = [], 0
        for match in self._compiled.finditer(text):
            start, end = match.span()
            if start == end:
                continue
            if begin < start:
                pretokens.append(text[begin:start])
            pretokens.append(text[start:end])
            begin = end
        return pretokens if begin == len(text) else [*pretokens, text[begin:]]

    def spans(self, text: bytes) -> NDArray[np.int64]:
        """Where each pretoken of `text`, valid UTF-8, ends: offsets in bytes, the last one len(text).

        Example:
            >>> find_pattern("gpt2").spans("a né b".encode()).tolist()
            [1, 5, 7]
        """
        pretokens = self.split(text.decode())
        ends = np.fromiter(accumulate(map(len, pretokens)), np.int64, len(pretokens))
        if text.isascii():
            return ends
        # The n-th character starts at the n-th byte that continues none.
        starts = np.flatnonzero(np.frombuffer(text, np.int8) >= -64)
        return np.append(starts, len(text))[ends]

    @cached_property
    def _compiled(self) -> "re.Pattern[str]":  # it has the methods of one
        import regex  # type: ignore[import-untyped] # here: 70 ms to import, and GPT-2's pattern does without

        return cast("re.Pattern[str]", regex.compile(self.regex))


def find_pattern(pattern: str) -> Pattern:
    """The pattern of that name ("gpt2", "cl100k", "o200k"), else `pattern` itself as a regex.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is neither a name nor a regex.

    Example:
        >>> find_pattern("gpt2") == find_pattern(GPT2_PATTERN)
        True
    """
    if not isinstance(pattern, str):
        msg = f"pattern must be a str, a name ({', '.join(_NAMED)}) or a regex, got {pattern!r}"
        raise TypeError(msg)
    for name, text in _NAMED.items():
        if pattern in (name, text):
            return Pattern(name, text)
    found = Pattern("custom", pattern)
    _check_custom(found)
    return found


def _check_custom(pattern: Pattern) -> None:
    import regex

    names = ", ".join(_NAMED)
    try:
        flags = pattern._compiled.flags
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        msg = (
            f"pattern must be one of {names} or a regex of the package regex, got {pattern.regex!r}: {error}"
        )
        raise ValueError(msg) from None
    if flags & regex.REVERSE:
        msg = f"pattern {pattern.regex!r} searches backwards; take (?r) out of it"
        raise ValueError(msg)
    if re.fullmatch(r"[\w\s.-]*", pattern.regex):
        # A misspelled name would otherwise be a regex that matches hardly anything.
        msg = f"pattern must be one of {names} or a regex, which is more than words; got {pattern.regex!r}"
        raise ValueError(msg)


def _split_gpt2(text: str) -> list[str]:
    if text.isascii():
        return _GPT2_ASCII.findall(text)
    # `re` tests a set of characters in one step up to U+FFFF and range by range beyond: four times slower.
    # So characters beyond are matched in the disguise of an ASCII one of their class.
    disguised = _BEYOND_FFFF.sub(lambda match: _disguise(match[0]), text)
    pretokens: list[str] = _gpt2_up_to_ffff().findall(disguised)
    if disguised is text:
        return pretokens
    ends = list(accumulate(map(len, pretokens)))
    return [text[start:end] for start, end in pairwise([0, *ends])]


_BEYOND_FFFF = re.compile("[\U00010000-\U0010ffff]")


@lru_cache(maxsize=1 << 12)
def _disguise(character: str) -> str:
    """A letter for a letter, a digit for a number, else a mark: beyond U+FFFF there is no white space."""
    from . import unicode_classes  # here, because the compiled core does without

    for ranges, stand_in in ((unicode_classes.LETTERS, "a"), (unicode_classes.NUMBERS, "0")):
        index = bisect_right(ranges, (ord(character), sys.maxunicode))
        if index and ord(character) <= ranges[index - 1][1]:
            return stand_in
    return "!"


@cache
def _gpt2_up_to_ffff() -> re.Pattern[str]:
    """GPT-2's pattern with the pinned classes."""
    from . import unicode_classes

    letters, numbers, spaces = (
        "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges if last <= 0xFFFF)
        for ranges in (unicode_classes.LETTERS, unicode_classes.NUMBERS, unicode_classes.SPACES)
    )
    return re.compile(
        f" ?[{letters}]+|'(?:[sdmt]|ll|ve|re)| ?[{numbers}]+| ?[^{spaces}{letters}{numbers}]+"
        f"|[{spaces}]+(?![^{spaces}])|[{spaces}]+"
    )
