r"""Places where text may be cut in two without changing a single pretoken.

A cut is safe before white space that follows something else. No alternative of GPT-2's pattern matches
white space after non-white-space, so one pretoken ends and another begins there, and the only one that
looks ahead, `\s+(?!\S)`, sees the same on either side. A cut is also safe before a special token, which
ends the text before it in any case. Neither holds inside a special token, so a cut is refused when any
special token, chosen by the splitter or not, lies across it.
"""

import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import AnyStr, Generic, cast

# Small blocks, because one letter outside ASCII sends a whole block to the slower pattern.
BLOCK_CHARACTERS = 1 << 10
PIECE_BYTES = 1 << 20

# White space outside ASCII. Without re.ASCII, `re` would also count U+001C to U+001F, which `regex` does not.
_WIDE_SPACES = "\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


class SafeCuts(Generic[AnyStr]):
    """Finds safe cuts in text (`text_cuts`) or in its UTF-8 bytes (`byte_cuts`)."""

    def __init__(self, candidate: re.Pattern[AnyStr], special_tokens: Sequence[AnyStr]) -> None:
        self._candidate: re.Pattern[AnyStr] = candidate
        self._special_tokens: Sequence[AnyStr] = special_tokens
        self.longest_special = max(map(len, special_tokens), default=0)

    def first(self, data: AnyStr, start: int) -> int | None:
        """The first safe cut at `start` > 0 or later, None if there is none."""
        while (match := self._candidate.search(data, start)) is not None:
            cut = match.start()
            if not self._is_inside_special(data, cut):
                return cut
            start = cut + 1
        return None

    def _is_inside_special(self, data: AnyStr, cut: int) -> bool:
        return any(
            data.find(token, max(0, cut - len(token) + 1), cut + len(token) - 1) != -1
            for token in self._special_tokens
        )


def text_cuts(special_tokens: Sequence[str]) -> SafeCuts[str]:
    """Safe cuts of a str."""
    alternatives = [f"(?={re.escape(token)})" for token in special_tokens]
    alternatives.append(rf"(?=\s)(?<=[^\s{_WIDE_SPACES}])")
    return SafeCuts(re.compile("|".join(alternatives), re.ASCII), special_tokens)


def byte_cuts(special_tokens: Sequence[str]) -> SafeCuts[bytes]:
    """Safe cuts of UTF-8 bytes; they never fall inside a character."""
    encoded = [token.encode() for token in special_tokens]
    alternatives = [b"(?=%b)" % re.escape(token) for token in encoded]
    not_after_wide_space = b"".join(b"(?<!%b)" % space.encode() for space in _WIDE_SPACES)
    alternatives.append(rb"(?=\s)(?<=\S)" + not_after_wide_space)
    return SafeCuts(re.compile(b"|".join(alternatives)), encoded)


def blocks(chunks: Iterable[str], cuts: SafeCuts[str], size: int = BLOCK_CHARACTERS) -> Iterator[str]:
    """Regroup a text given in chunks into blocks of about `size` characters that end at safe cuts.

    Pretokens and special tokens of the blocks are those of the whole text, wherever the chunks end.
    Holds about `size` characters, or as many as the text has without a safe cut.
    """
    pending: list[str] = []
    num_pending = 0
    wanted = size
    for chunk in chunks:
        pending.append(chunk)
        num_pending += len(chunk)
        if num_pending < wanted:
            continue
        text = "".join(pending)
        begin = 0
        # A special token that starts before the cut must be seen whole to be seen at all.
        last = len(text) - cuts.longest_special
        while (cut := cuts.first(text, begin + size)) is not None and cut <= last:
            yield text[begin:cut]
            begin = cut
        pending = [text[begin:]]
        num_pending = len(pending[0])
        # Twice as much before the next attempt: the work stays linear where nothing can be cut.
        wanted = max(size, 2 * num_pending)
    if rest := "".join(pending):
        yield rest


def file_pieces(path: Path, special_tokens: Sequence[str], piece_bytes: int) -> list[tuple[int, int]]:
    """Byte ranges (start, end) of at least `piece_bytes` that cover the file and meet at safe cuts."""
    size = path.stat().st_size
    if size <= piece_bytes:
        return [(0, size)] if size else []
    cuts = byte_cuts(special_tokens)
    borders = [0]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (cut := cuts.first(cast(bytes, data), borders[-1] + piece_bytes)) is not None:
            borders.append(cut)
    borders.append(size)
    return list(pairwise(borders))
