"""Turn token ids back into text, byte for byte."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from .ids import read_ids, read_manifest
from .terminal import stdin, write_bytes
from .tokenizers import add_tokenizer, open_tokenizer

DESCRIPTION = """Turn token ids back into text on standard output, byte for byte. The ids are those of a
token file that `encode --out` wrote with this tokenizer or, on standard input, numbers
with white space between."""
EXAMPLE = """{prog} decode stories.bin --tokenizer tokenizer > stories.txt
echo 257 300 | {prog} decode - --tokenizer tokenizer"""
_CHARACTERS_AT_ONCE = 1 << 20
_MAX_DIGITS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Ids in, text out."""
    parser.add_argument("input", metavar="INPUT", help="a token file, or - for numbers on standard input")
    add_tokenizer(parser)


def run(args: argparse.Namespace) -> None:
    """Write the text as its ids come."""
    tokenizer = open_tokenizer(args.tokenizer, args)
    if args.input == "-":
        for numbers in numbers_in(iter(lambda: stdin().read1(_CHARACTERS_AT_ONCE), b"")):
            write_bytes(tokenizer.decode_bytes(numbers))
        return
    manifest = read_manifest(Path(args.input))
    if manifest.tokenizer != tokenizer.fingerprint:
        msg = (
            f"{args.input} was made by tokenizer {manifest.tokenizer[:12]}…, "
            f"{args.tokenizer} is {tokenizer.fingerprint[:12]}…: name the one that encoded it"
        )
        raise ValueError(msg)
    for ids in read_ids(args.input, manifest.dtype):
        write_bytes(tokenizer.decode_bytes(ids))


def numbers_in(chunks: Iterable[bytes]) -> Iterator[list[int]]:
    r"""Yield the numbers of a text that comes in chunks, which may end inside a number.

    Raises:
        ValueError: If there is anything but digits and white space.

    Example:
        >>> list(numbers_in([b"1 2", b"3\n4", b"5"]))
        [[1], [23], [], [45]]
    """
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        words = text.split()
        rest = words.pop() if words and not text[-1:].isspace() else b""
        yield [_number(word) for word in words]
        if len(rest) > _MAX_DIGITS:
            _number(rest)  # refuses it now, before it grows
    if rest:
        yield [_number(rest)]


def _number(word: bytes) -> int:
    # int() alone would take a sign, underscores, and thousands of digits, slowly.
    if word.isdigit() and len(word) <= _MAX_DIGITS:
        return int(word)
    shown = word[:40].decode("ascii", "backslashreplace")
    msg = f"token ids are numbers with white space between, got {shown!r}; text becomes ids by `encode`"
    raise ValueError(msg)
