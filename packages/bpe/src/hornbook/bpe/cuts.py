r"""Places where text may be cut in two without changing a single pretoken.

A cut is safe before a special token, which ends the text before it in any case. With the patterns known by
name, it is also safe before white space that follows something else: none of their alternatives matches white
space after non-white-space (cl100k and o200k: but for \r and \n, which they match after punctuation; so these
count only after a letter or a number), so one pretoken ends and another begins there, and what looks ahead,
`\s+(?!\S)` and `\s++$`, sees the same on either side. Of any other regex nothing is known.

Neither holds inside a special token, so a cut is refused when any special token, chosen by the splitter or
not, lies across it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from .patterns import Pattern

# It stays in the second cache, and is enough work for a thread: with a quarter of it two threads take a fifth
# longer, because they wait for each other.
BLOCK_BYTES = 1 << 20

# White space outside ASCII, as UTF-8. White space after it is no safe cut.
WIDE_SPACES = "\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

# The white space before which a cut may be whatever other than white space comes before it.
_SPACES = {"gpt2": rb"\t\n\x0b\x0c\r ", "cl100k": rb"\t\x0b\x0c ", "o200k": rb"\t\x0b\x0c "}

_LINE_ENDS = b"\r\n"

# The search for the last cut looks at so many bytes first: most text has white space in them.
_FIRST_WINDOW_BYTES = 64


class SafeCuts:
    """Finds safe cuts in UTF-8 bytes; they never fall inside a character.

    Args:
        pattern: What cuts the text into pretokens.
        special_tokens: What is cut out of it before.
    """

    def __init__(self, pattern: Pattern, special_tokens: Iterable[str]) -> None:
        self._special_tokens: Sequence[bytes] = [token.encode() for token in special_tokens]
        longest = max(map(len, self._special_tokens), default=0)
        # How much text around a cut tells whether it is safe: a wide space, a special token across it.
        self._bytes_before = max(3, longest - 1)
        self._bytes_after = max(1, longest)
        self._space = _before_space(_SPACES[pattern.name]) if pattern.name in _SPACES else None
        # gpt2 treats line ends as any white space.
        self._is_line_end_special = pattern.name != "gpt2"
        self._candidates = [] if self._space is None else [self._space]
        if self._special_tokens:
            self._candidates.append(re.compile(b"|".join(map(re.escape, self._special_tokens))))

    def last(self, text: bytes) -> int | None:
        """A safe cut near the end of `text`, None if there is none.

        It is one whatever comes before and after: `text` may begin and end inside a character or a special
        token.
        Special tokens are searched for only where no white space serves, because that takes longer.
        """
        for candidate in self._candidates:
            is_space = candidate is self._space
            end = len(text)
            window = _FIRST_WINDOW_BYTES
            while end > self._bytes_before:
                begin = max(self._bytes_before, end - window)
                # A run of white space, which may be long, has none before white space: seen at once.
                if is_space and text[begin - 1 : end].isspace():
                    end, window = begin, 2 * window
                    continue
                # A candidate that begins in this window may reach into the one after it.
                matches = candidate.finditer(text, begin, end + self._bytes_after - 1)
                for match in reversed(list(matches)):
                    cut = match.start()
                    if cut > len(text) - self._bytes_after or self._is_inside_special(text, cut):
                        continue
                    if not is_space or self._is_between_pretokens(text, cut):
                        return cut
                end = begin
                window *= 2
        return None

    def _is_between_pretokens(self, text: bytes, cut: int) -> bool:
        """What `self._space` leaves open: whether a letter or a number comes before the line end."""
        is_open = self._is_line_end_special and text[cut] in _LINE_ENDS and text[cut - 1] >= 0x80
        return not is_open or _is_word_character(text[max(0, cut - 4) : cut])

    def _is_inside_special(self, text: bytes, cut: int) -> bool:
        return any(
            text.find(token, max(0, cut - len(token) + 1), cut + len(token) - 1) != -1
            for token in self._special_tokens
        )


def _before_space(spaces: bytes) -> re.Pattern[bytes]:
    """Matches `spaces` after what is no white space, other line ends after what may be a letter or number."""
    after_ascii = rb"(?<=[\x00-\x08\x0e-\x1f\x21-\x7f][%b])" % spaces
    not_after_wide_space = b"".join(b"(?<!%b[%b])" % (space.encode(), spaces) for space in WIDE_SPACES)
    # The white space comes first in the pattern, because `re` is quick at finding a first byte.
    before_space = rb"[%b](?:%b|(?<=[\x80-\xff][%b])%b)" % (spaces, after_ascii, spaces, not_after_wide_space)
    line_end = b"" if b"\\n" in spaces else rb"|[\r\n](?<=[0-9A-Za-z\x80-\xff][\r\n])"
    return re.compile(before_space + line_end)


def _is_word_character(last_bytes: bytes) -> bool:
    """Whether the last character, which is not ASCII, is a letter or a number as `regex` has them."""
    import regex  # type: ignore[import-untyped] # here: see patterns.py

    for size in (2, 3, 4):
        try:
            return regex.fullmatch(r"[\p{L}\p{N}]", last_bytes[-size:].decode()) is not None
        except UnicodeDecodeError:  # the character has more bytes
            continue
    return False  # as far as one can see


def byte_blocks(chunks: Iterable[bytes], cuts: SafeCuts, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Regroup a text given in chunks of any length into blocks of about `size` bytes that end at safe cuts.

    Pretokens and special tokens of the blocks are those of the whole text. No block is empty. Holds about
    `size` bytes, or as many as the text has without a safe cut; each byte is searched for a cut but once.

    Example:
        >>> from .patterns import find_pattern
        >>> cuts = SafeCuts(find_pattern("gpt2"), [])
        >>> list(byte_blocks([b"one t", b"wo three", b" four five"], cuts, 8))
        [b'one two', b' three four', b' five']
    """
    pending: list[bytes | memoryview] = []
    for piece in _pieces(chunks, size):
        # The last piece, if it is short, ends the text and needs no cut.
        cut = cuts.last(piece) if len(piece) >= size else None
        if cut is None:
            pending.append(piece)
        else:
            # A view: the text is copied once, into the block.
            yield b"".join((*pending, memoryview(piece)[:cut]))
            pending = [piece[cut:]]
    if rest := b"".join(pending):
        yield rest


def _pieces(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Join short chunks and cut long ones; all but the last piece have `size` to 2 `size` bytes."""
    short: list[bytes] = []
    num_short = 0
    for chunk in chunks:
        begin = 0
        while num_short + len(chunk) - begin >= size:
            remaining = num_short + len(chunk) - begin
            end = len(chunk) if remaining < 2 * size else begin + size - num_short
            short.append(chunk[begin:end])
            yield b"".join(short)
            short, num_short, begin = [], 0, end
        if begin < len(chunk):
            short.append(chunk[begin:])
            num_short += len(chunk) - begin
    if short:
        yield b"".join(short)
