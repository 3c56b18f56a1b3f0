"""Tokens of a text in the terminal: each in a color of its own, or with bars between."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .spelling import visible

# Light backgrounds under black letters can be read in dark terminals and in light ones.
_PALETTE_24 = ("255;214;165", "202;255;191", "155;246;255", "189;178;255", "255;198;255", "253;255;182")
_PALETTE_8 = (223, 157, 123, 147, 219, 229)
_RESET = "\x1b[0m"


class Piece(NamedTuple):
    """One token where it stands in a text."""

    token_id: int
    token: bytes
    special: bool


def paint(pieces: Iterable[Piece], *, depth: int, ids: bool) -> Iterator[str]:
    r"""Yield each token as the terminal is to show it.

    Args:
        pieces: The tokens of a text, in order.
        depth: Bits of a color: 24, 8, or 0, which puts a bar after each token instead.
        ids: Whether to write the id after each token.

    Example:
        >>> pieces = [Piece(7, b"the", False), Piece(8, b" c\n", False), Piece(0, b"<e>", True)]
        >>> "".join(paint(pieces, depth=0, ids=False))
        'the|·c⏎|\n<e>|'
        >>> "".join(paint(pieces[:1], depth=8, ids=True))
        '\x1b[38;5;16;48;5;223mthe\x1b[0m\x1b[2m7\x1b[0m '
    """
    for index, piece in enumerate(pieces):
        shown = visible(piece.token)
        body, line_end = shown.removesuffix("\n"), "\n" if shown.endswith("\n") else ""
        if depth == 0:
            yield f"{body}:{piece.token_id}|{line_end}" if ids else f"{body}|{line_end}"
            continue
        painted = _color(body, _start(index, depth, special=piece.special), _RESET)
        yield f"{painted}\x1b[2m{piece.token_id}{_RESET} {line_end}" if ids else f"{painted}{line_end}"


def _start(index: int, depth: int, *, special: bool) -> str:
    if special:
        return "\x1b[1;7m"
    if depth == 24:
        return f"\x1b[38;2;0;0;0;48;2;{_PALETTE_24[index % len(_PALETTE_24)]}m"
    return f"\x1b[38;5;16;48;5;{_PALETTE_8[index % len(_PALETTE_8)]}m"


def _color(shown: str, start: str, end: str) -> str:
    """A color that is on at a line end would fill the rest of the line; so it is off there."""
    return start + shown.replace("\n", f"{end}\n{start}") + end
