"""Turn text into token ids: a token file for training, or numbers to read."""

import argparse
import time
from collections.abc import Iterable, Iterator

from ..cuts import SafeCuts
from ..patterns import find_pattern
from ..sources import open_source
from ..token_file import token_file_paths
from ..tokenizer import Tokenizer
from .meter import Meter
from .options import ENDOFTEXT, add_inputs, add_work, check_new, source
from .tables import text_table
from .terminal import write
from .tokenizers import add_tokenizer, open_tokenizer, special_ids
from .units import duration, num_bytes, rate

DESCRIPTION = """Turn text into token ids. With --out, into a token file (raw little-endian uint16, or
uint32 where the vocabulary needs it) with a manifest beside it, FILE.json. Without, as
numbers on standard output, a line for each document; `decode` takes them back."""
EXAMPLE = """{prog} encode stories.txt --tokenizer tokenizer --out stories.bin
echo Once upon a time | {prog} encode - --tokenizer tokenizer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Text in, ids out."""
    add_inputs(parser)
    add_tokenizer(parser)
    parser.add_argument("--out", metavar="FILE", help="the token file to make; it must not exist")
    parser.add_argument(
        "--document-end",
        default=ENDOFTEXT,
        metavar="T",
        help="the special token that ends a document (default: %(default)s)",
    )
    add_work(parser)


def run(args: argparse.Namespace) -> None:
    """Encode into the file, or to standard output."""
    if args.out is None:
        _print_ids(args)
        return
    out = check_new(args.out)
    for part in token_file_paths(out)[1:]:
        check_new(part)
    tokenizer = open_tokenizer(args.tokenizer, args)
    began = time.perf_counter()
    with Meter(quiet=args.quiet) as meter:
        manifest = tokenizer.encode_file(
            source(args.input),
            out,
            num_threads=args.num_threads,
            document_end=args.document_end,
            progress=meter,
        )
    if args.quiet:
        return
    seconds, size = time.perf_counter() - began, meter.done.get("encode", 0)
    documents = manifest.documents
    rows = [
        ("made", f"{out}, {out}.json"),
        ("tokens", f"{manifest.num_tokens:,} ({manifest.dtype})"),
        ("documents", "unknown" if documents is None else f"{documents['count']:,}"),
        ("read", f"{num_bytes(size)} in {duration(seconds)}, {rate(size, seconds)}"),
    ]
    write(text_table(rows, left=2) + "\n")


def _print_ids(args: argparse.Namespace) -> None:
    if args.num_threads is not None:
        msg = "--num-threads goes with --out: ids that are printed come from one thread, as the text comes"
        raise ValueError(msg)
    tokenizer = open_tokenizer(args.tokenizer, args)
    end = special_ids(tokenizer).get(args.document_end)
    if end is None and args.document_end != ENDOFTEXT:
        msg = (
            f"--document-end {args.document_end!r} is no special token; there are {tokenizer.special_tokens}"
        )
        raise ValueError(msg)
    for lines in id_lines(_blocks(tokenizer, args.input), end):
        write(lines)


def _blocks(tokenizer: Tokenizer, inputs: list[str]) -> Iterator[tuple[list[int], bool]]:
    cuts = SafeCuts(find_pattern(tokenizer.pattern), tokenizer.special_tokens)
    for block in open_source(source(inputs)).blocks(cuts):
        yield tokenizer.encode(block.give(lambda text: str(text, "utf-8"))), block.offset == 0


def id_lines(blocks: Iterable[tuple[list[int], bool]], end: int | None) -> Iterator[str]:
    r"""Yield ids with spaces between, and a line end after each `end` and each text.

    Args:
        blocks: Ids as they come, and whether a new text begins with them.
        end: The id that ends a document, None if there is none.

    Example:
        >>> "".join(id_lines([([5, 6, 0], True), ([0, 7], False), ([8], True)], end=0))
        '5 6 0\n0\n7\n8\n'
    """
    separator = ""
    for ids, is_new in blocks:
        parts = ["\n"] if is_new and separator else []
        separator = "" if is_new else separator
        for token_id in ids:
            parts.append(f"{separator}{token_id}")
            separator = "\n" if token_id == end else " "
        yield "".join(parts)
    if separator:
        yield "\n"
