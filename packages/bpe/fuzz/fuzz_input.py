"""Inputs of the fuzz targets: bytes read as values, and bytes made from other bytes."""

from collections.abc import Sequence
from random import Random

# Where scanners, decoders and parsers change their mind.
_PIECES = [
    *(
        b"a",
        b"'",
        b"'s",
        b"'ll",
        b"'re",
        b" ",
        b"  ",
        b"\t",
        b"\r\n",
        b"\n",
        b"0",
        b"7",
        b"!",
        b"\x00",
        b"\x1c",
    ),
    *(
        text.encode()
        for text in ("é", "ß", "Ж", "中", "٣", "\x85", "\xa0", "\u1680", "\u2028", "\u3000", "\ufeff")
    ),
    *(
        text.encode()
        for text in ("\u0301", "🙂", "\u200d", "\U0003fc3f", "\U0003fc80", "\U0010ffff", "\U0001d7d8")
    ),
    *(
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc2",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x9f",
        b"\xf4\x90\x80\x80",
    ),
    *(
        b"\xff",
        b"<|endoftext|>",
        b"<|",
        b"|>",
        b"<<",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\\u0120",
        b"\\",
    ),
    *(b"null", b"true", b"-1", b"1e9", b"9223372036854775808", "Ġ".encode(), "Ċ".encode(), b"=", b"#version"),
]


class Input:
    r"""Values drawn from bytes, from the first on; after the last, zeros.

    Example:
        >>> drawn = Input(b"\x02abcd")
        >>> drawn.chunk(4), drawn.below(10), drawn.rest()
        (b'ab', 9, b'd')
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1, out of one byte or two."""
        size = 1 if limit <= 256 else 2
        return int.from_bytes(self._take(size), "big") % limit

    def chunk(self, limit: int) -> bytes:
        """Fewer than `limit` bytes."""
        return self._take(self.below(limit))

    def text(self, limit: int) -> str:
        """Fewer than `limit` bytes of text."""
        return self.chunk(limit).decode(errors="ignore")

    def rest(self) -> bytes:
        """All that is left."""
        return self._take(len(self._data))

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken


def mutated(corpus: Sequence[bytes], random: Random, max_bytes: int = 8192) -> bytes:
    """An input of the corpus with some of it changed, moved, doubled, left out or replaced."""
    data = bytearray(random.choice(corpus))
    for _ in range(1 << random.randrange(6)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + (1 << random.randrange(8)))
        match random.randrange(7):
            case 0:
                data[start:start] = random.choice(_PIECES) * (1 << random.randrange(7))
            case 1:
                data[start:end] = random.choice(_PIECES)
            case 2:
                del data[start:end]
            case 3:
                data[start:start] = data[start:end]
            case 4:
                data[start:start] = random.randbytes(end - start)
            case 5:
                other = random.choice(corpus)
                begin = random.randrange(len(other) + 1)
                data[start:end] = other[begin : begin + (1 << random.randrange(8))]
            case _:
                for place in range(start, min(end, start + 4)):
                    data[place] ^= 1 << random.randrange(8)
    return bytes(data[:max_bytes])
