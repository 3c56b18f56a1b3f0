"""Show where the tokens of a text begin and end."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from ..cuts import SafeCuts
from ..formats.files import write_files
from ..patterns import find_pattern
from ..sources import open_source
from ..tokenizer import Tokenizer
from .options import check_new, source
from .page import page
from .paint import Piece, paint
from .terminal import color_depth, is_terminal, say, write
from .tokenizers import add_tokenizer, open_tokenizer, special_ids
from .units import num_bytes

DESCRIPTION = """Show where the tokens of a text begin and end: in colors in the terminal (NO_COLOR turns
them off), with bars between tokens elsewhere, or with --html as a page that needs no
network. A space shows as ·, a tab as →, a line end as ⏎, what is only part of a
character as its bytes."""
EXAMPLE = """{prog} show stories.txt --tokenizer tokenizer --ids
{prog} show stories.txt --tokenizer tokenizer --html stories.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A text in, colors out."""
    parser.add_argument("input", metavar="INPUT", help="a file (plain, .gz or .zst), or - for standard input")
    add_tokenizer(parser)
    parser.add_argument("--ids", action="store_true", help="write its id after each token")
    parser.add_argument("--html", metavar="FILE", help="the page to make instead; it must not exist")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: where a person watches (default: %(default)s)",
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=100_000,
        metavar="N",
        help="show no more of the text than this (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no summary")


def run(args: argparse.Namespace) -> None:
    """Paint the beginning of the text, or write the page."""
    if args.max_bytes < 1:
        msg = f"--max-bytes must be at least 1, got {args.max_bytes}"
        raise ValueError(msg)
    if args.html:
        check_new(args.html)
    tokenizer = open_tokenizer(args.tokenizer, args)
    text, whole = _first_bytes(args.input, args.max_bytes)
    pieces = list(_pieces(tokenizer, text))
    summary = f"{len(pieces):,} tokens, {num_bytes(len(text))}"
    if pieces:
        summary += f", {len(text) / len(pieces):.3f} bytes per token"
    if not whole:
        summary += "; the text goes on, --max-bytes shows more"
    if args.html:
        ranks = {left + right: rank for rank, (left, right) in enumerate(tokenizer.merges)}
        content = "".join(page(args.input, summary, pieces, ranks)).encode()
        write_files({Path(args.html): content})
    else:
        depth = color_depth(args.color, terminal=is_terminal(sys.stdout))
        for part in paint(pieces, depth=depth, ids=args.ids):
            write(part)
        write("\n")
    if not args.quiet:
        say(f"{args.html}: {summary}" if args.html else summary)


def _first_bytes(path: str, max_bytes: int) -> tuple[bytes, bool]:
    """The beginning of the text, up to the end of a character, and whether that is all of it."""
    text = b""
    for block in open_source(source([path])).blocks(SafeCuts(find_pattern("gpt2"), [])):
        text += block.view
        if len(text) > max_bytes:
            break
    end = max_bytes
    while 0 < end < len(text) and max_bytes - end < 3 and text[end] & 0xC0 == 0x80:
        end -= 1
    return text[:end], len(text) <= max_bytes


def _pieces(tokenizer: Tokenizer, text: bytes) -> Iterator[Piece]:
    vocab, specials = tokenizer.vocab, set(special_ids(tokenizer).values())
    # What is no UTF-8 is shown as what it is, too: this is where somebody looks for it.
    for token_id in tokenizer.encode(text, errors="bytes"):
        yield Piece(token_id, vocab[token_id], token_id in specials)
