"""Measure tokenizers on texts, side by side."""

import argparse
import json
from dataclasses import asdict
from typing import Any

import numpy as np

from ..engine import id_dtype
from ..tokenizer import Tokenizer
from .measure import PILE_BYTES, Measurement, measure
from .meter import Meter
from .options import ENDOFTEXT, add_inputs, add_work
from .spelling import quoted
from .tables import markdown_table, text_table
from .terminal import write
from .tokenizers import add_tokenizer, open_tokenizer
from .units import duration, rate

DESCRIPTION = """Measure tokenizers on texts: bytes per token on the whole text and on some documents of
it, the longest tokens, the throughput here and how long the Pile (825 GB) takes at it,
and the tokens that the text never needs. These are the questions of Stanford CS336,
assignment 1 (2025)."""
EXAMPLE = """{prog} stats stories.txt --tokenizer tokenizer
{prog} stats stories.txt web.txt --tokenizer stories-10k --tokenizer web-32k --markdown"""
NUM_LONGEST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts and tokenizers in, tables out."""
    add_inputs(parser)
    add_tokenizer(parser, several=True)
    parser.add_argument(
        "--documents", type=int, default=10, metavar="N", help="documents to sample (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="decides which documents (default: %(default)s)"
    )
    parser.add_argument(
        "--document-end",
        default=ENDOFTEXT,
        metavar="T",
        help="the special token that ends a document (default: %(default)s)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, for programs")
    form.add_argument("--markdown", action="store_true", help="print Markdown tables, for a report")
    add_work(parser)


def run(args: argparse.Namespace) -> None:
    """Measure every tokenizer on every text, and print the tables."""
    if "-" in args.input:
        msg = "stats reads a text once for each tokenizer, standard input can't be: save it to a file first"
        raise ValueError(msg)
    if args.documents < 0:
        msg = f"--documents must be 0 or more, got {args.documents}"
        raise ValueError(msg)
    tokenizers = {path: open_tokenizer(path, args) for path in args.tokenizer}
    measurements = []
    for text in args.input:
        for name, tokenizer in tokenizers.items():
            with Meter(quiet=args.quiet) as meter:
                one = measure(
                    tokenizer,
                    name,
                    text,
                    document_end=args.document_end,
                    num_sampled=args.documents,
                    seed=args.seed,
                    num_threads=args.num_threads,
                    progress=meter,
                )
            measurements.append(one)
    if args.json:
        write(json.dumps(_as_json(args, tokenizers, measurements), indent=2) + "\n")
        return
    table = markdown_table if args.markdown else text_table
    parts = [
        table(_vocabulary_rows(tokenizers)),
        table(_text_rows(measurements, args.documents)),
        "\n".join(_notes(tokenizers, measurements)),
    ]
    write("\n\n".join(parts) + "\n")


def _longest(tokenizer: Tokenizer) -> list[bytes]:
    """The longest tokens that are text, the lowest id first of equals."""
    lengths, vocab = tokenizer.token_num_bytes, tokenizer.vocab
    return [vocab[i] for i in np.argsort(-lengths, kind="stable")[:NUM_LONGEST].tolist()]


def _vocabulary_rows(tokenizers: dict[str, Tokenizer]) -> list[list[str]]:
    columns = [
        [
            name,
            f"{tokenizer.vocab_size:,}",
            f"{len(tokenizer.merges):,}",
            tokenizer.pattern,
            id_dtype(tokenizer.vocab_size).name,
            *map(quoted, _longest(tokenizer)),
        ]
        for name, tokenizer in tokenizers.items()
    ]
    heads = ["tokenizer", "tokens", "merges", "pattern", "type of ids"]
    heads += ["longest tokens", *[""] * (NUM_LONGEST - 1)]
    return [list(row) for row in zip(heads, *columns, strict=True)]


def _text_rows(measurements: list[Measurement], num_sampled: int) -> list[list[str]]:
    head = ["text", "tokenizer", "bytes", "tokens", "bytes per token", f"on {num_sampled} documents"]
    rows = [[*head, "throughput", "the Pile", "unused tokens"]]
    for one in measurements:
        rows.append(
            [
                one.text,
                one.tokenizer,
                f"{one.num_bytes:,}",
                f"{one.num_tokens:,}",
                _ratio(one.bytes_per_token),
                _ratio(one.sampled_bytes_per_token),
                rate(one.bytes_per_second, 1),
                "-" if one.pile_seconds is None else duration(one.pile_seconds),
                f"{one.num_unused:,}",
            ]
        )
    return rows


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _notes(tokenizers: dict[str, Tokenizer], measurements: list[Measurement]) -> list[str]:
    notes = ["Special tokens count neither as bytes nor as tokens."]
    for name, tokenizer in tokenizers.items():
        last, kind = tokenizer.vocab_size - 1, id_dtype(tokenizer.vocab_size).name
        reason = "they fit uint16 (0 to 65,535), 2 bytes a token; int32 would take twice as much"
        if kind == "uint32":
            reason = "too many for uint16 (0 to 65,535); uint32 takes 4 bytes a token"
        notes.append(f"Ids of {name} are 0 to {last:,}: {reason}.")
    notes.append("Throughput: reading the text, encoding it and writing the ids, from a cold start.")
    if min(one.seconds for one in measurements) < 0.5:
        notes.append("Less than half a second was measured: give a longer text for a throughput to rely on.")
    return notes


def _as_json(
    args: argparse.Namespace, tokenizers: dict[str, Tokenizer], measurements: list[Measurement]
) -> dict[str, Any]:
    return {
        "seed": args.seed,
        "document_end": args.document_end,
        "pile_bytes": PILE_BYTES,
        "tokenizers": [
            {
                "name": name,
                "vocab_size": tokenizer.vocab_size,
                "num_merges": len(tokenizer.merges),
                "pattern": tokenizer.pattern,
                "fingerprint": tokenizer.fingerprint,
                "dtype": id_dtype(tokenizer.vocab_size).name,
                "longest_tokens": [quoted(token) for token in _longest(tokenizer)],
            }
            for name, tokenizer in tokenizers.items()
        ],
        "measurements": [
            asdict(one) | {"longest_unused": [quoted(token) for token in one.longest_unused]}
            for one in measurements
        ],
    }
