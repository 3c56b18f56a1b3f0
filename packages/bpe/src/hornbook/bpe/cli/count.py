"""Count pretokens once, train from them as often as wanted; counts of parts add up to those of the whole."""

import argparse
import time

from .meter import Meter
from .options import add_cutting, add_inputs, add_work, check_new, cutting, source
from .terminal import write
from .units import duration, num_bytes, rate

DESCRIPTION = """Count the pretokens of text, which is all of it that training looks at, into one file.
With --add, add such files: the counts of parts, wherever they were counted, make the
counts of the whole."""
EXAMPLE = """{prog} count part-1.txt --out 1.counts
{prog} count --add 1.counts 2.counts --out all.counts"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts or counts in, counts out."""
    add_inputs(parser, optional=True)
    parser.add_argument("--add", nargs="+", default=[], metavar="COUNTS", help="files of counts, not texts")
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to make; it must not exist")
    add_cutting(parser)
    add_work(parser)


def run(args: argparse.Namespace) -> None:
    """Count or add, save, and say how much it was."""
    if bool(args.input) == bool(args.add):
        msg = "give either texts to count or, after --add, files of counts"
        raise ValueError(msg)
    if args.add and (args.pattern or args.special_token or args.no_special_tokens):
        msg = "counts name their pattern and special tokens themselves: leave these flags out with --add"
        raise ValueError(msg)
    out = check_new(args.out)
    from ..counting import count_pretokens
    from ..counts import PretokenCounts

    began = time.perf_counter()
    if args.add:
        counts = PretokenCounts.load(args.add[0])
        for path in args.add[1:]:
            counts += PretokenCounts.load(path)
    else:
        pattern, specials = cutting(args)
        with Meter(quiet=args.quiet) as meter:
            counts = count_pretokens(
                source(args.input), specials, pattern=pattern, num_threads=args.num_threads, progress=meter
            )
    counts.save(out)
    if args.quiet:
        return
    seconds = time.perf_counter() - began
    speed = "" if args.add else f", {rate(counts.num_bytes, seconds)}"
    write(
        f"{len(counts):,} different pretokens of {num_bytes(counts.num_bytes)} of text in {out}"
        f" ({duration(seconds)}{speed})\n"
    )
