"""Learn a vocabulary and save it."""

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..arguments import TIE_BREAKS
from ..aside import hidden, remove_leftovers, writing
from ..tokenizer import Tokenizer
from .meter import Meter
from .options import add_cutting, add_inputs, add_work, check_new, cutting, source
from .spelling import quoted
from .tables import text_table
from .terminal import write
from .units import duration, num_bytes, rate

DESCRIPTION = """Learn a vocabulary (the special tokens, the 256 bytes, then merges) from text, and save
it in a new directory, which appears whole or not at all."""
EXAMPLE = """{prog} train stories.txt --vocab-size 10_000 --out tokenizer
{prog} train 'data/*.gz' --vocab-size 32_000 --out tokenizer --format hornbook --format huggingface
{prog} train --from-counts all.counts --vocab-size 32_000 --out tokenizer"""
FORMATS = {
    "hornbook": "what every command here loads",
    "huggingface": "tokenizer.json",
    "tiktoken": "tokenizer.tiktoken",
    "gpt2": "vocab.json and merges.txt",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts or counts in, a directory out."""
    add_inputs(parser, optional=True)
    parser.add_argument("--from-counts", metavar="FILE", help="what `count` wrote, instead of INPUT")
    parser.add_argument(
        "--vocab-size",
        type=int,
        required=True,
        metavar="N",
        help="tokens in all: special tokens, 256 bytes, merges",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the directory to make; it must not exist, or be empty"
    )
    parser.add_argument(
        "--format",
        action="append",
        choices=FORMATS,
        help="what to write into DIR; repeatable (default: hornbook). "
        + "; ".join(f"{name}: {what}" for name, what in FORMATS.items()),
    )
    add_cutting(parser)
    parser.add_argument(
        "--tie-break",
        choices=TIE_BREAKS,
        default=TIE_BREAKS[0],
        help="which of equally frequent pairs is merged: the one of greatest bytes (Stanford CS336), or of "
        "smallest ids (Hugging Face) (default: %(default)s)",
    )
    add_work(parser)


def run(args: argparse.Namespace) -> None:
    """Train, save, and say what was made."""
    if bool(args.input) == (args.from_counts is not None):
        msg = "give either texts to learn from or --from-counts FILE"
        raise ValueError(msg)
    if args.from_counts and (args.pattern or args.special_token or args.no_special_tokens):
        msg = "counts name their pattern and special tokens themselves: leave these flags out"
        raise ValueError(msg)
    formats = list(dict.fromkeys(args.format or ["hornbook"]))
    if {"hornbook", "gpt2"} <= set(formats):
        msg = "--format hornbook and gpt2 both write vocab.json: train twice, or name one of them"
        raise ValueError(msg)
    began = time.perf_counter()
    with _directory_in_the_end(check_new(args.out)) as directory:
        with Meter(quiet=args.quiet) as meter:
            tokenizer = _train(args, meter)
        with writing(Path(args.out)):
            _save(tokenizer, directory, formats)
    if not args.quiet:
        write(_summary(tokenizer, args.out, meter, time.perf_counter() - began))


def _train(args: argparse.Namespace, meter: Meter) -> Tokenizer:
    if args.from_counts:
        from ..counts import PretokenCounts
        from ..train import train_from_counts

        counts = PretokenCounts.load(args.from_counts)
        specials, pattern = list(counts.special_tokens), counts.pattern
        trained = train_from_counts(counts, args.vocab_size, tie_break=args.tie_break, progress=meter)
    else:
        from ..train import train_bpe

        pattern, specials = cutting(args)
        trained = train_bpe(
            source(args.input),
            args.vocab_size,
            specials,
            pattern=pattern,
            tie_break=args.tie_break,
            num_threads=args.num_threads,
            progress=meter,
        )
    return Tokenizer(*trained, specials, pattern=pattern)


@contextmanager
def _directory_in_the_end(out: Path) -> Iterator[Path]:
    """A directory to write into, made now, so that a disk that can't be written is noticed before the work.

    It takes the place of `out` at the end; if anything goes wrong, it goes.
    """
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        aside = hidden(out)
        aside.mkdir()
    try:
        yield aside / out.name
        if out.exists():
            out.rmdir()  # it was empty; fails if somebody has filled it meanwhile
        (aside / out.name).rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _save(tokenizer: Tokenizer, directory: Path, formats: list[str]) -> None:
    if "hornbook" in formats:
        tokenizer.save(directory)
    else:
        directory.mkdir()
    if "huggingface" in formats:
        tokenizer.save_huggingface(directory / "tokenizer.json")
    if "tiktoken" in formats:
        tokenizer.save_tiktoken(directory / "tokenizer.tiktoken")
    if "gpt2" in formats:
        tokenizer.save_files(directory / "vocab.json", directory / "merges.txt")


def _summary(tokenizer: Tokenizer, out: str, meter: Meter, seconds: float) -> str:
    longest = max(tokenizer.vocab.items(), key=lambda item: (tokenizer.token_num_bytes[item[0]], -item[0]))
    rows = [
        ("made", out),
        ("tokens", f"{tokenizer.vocab_size:,}"),
        ("merges", f"{len(tokenizer.merges):,}"),
        ("special tokens", " ".join(tokenizer.special_tokens) or "none"),
        ("longest token", f"{quoted(longest[1])} (id {longest[0]}, {len(longest[1])} bytes)"),
        ("time", duration(seconds)),
    ]
    if "count" in meter.done:
        size, counting = meter.done["count"], meter.seconds["count"]
        rows.append(("counting", f"{num_bytes(size)} read in {duration(counting)}, {rate(size, counting)}"))
    if "merge" in meter.done:
        rows.append(("merging", duration(meter.seconds["merge"])))
    return text_table(rows, left=2) + "\n"
