"""What runs here, and what a tokenizer is."""

import argparse
import platform

import numpy as np

from .. import library
from .spelling import quoted
from .tables import text_table
from .terminal import write
from .tokenizers import add_tokenizer, open_tokenizer, special_ids

DESCRIPTION = """Say which engine does the work (the compiled core, or pure Python and why), of which
version and with which Unicode version; with --tokenizer, also what that tokenizer is."""
EXAMPLE = """{prog} info
{prog} info --tokenizer tokenizer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing, or a tokenizer."""
    add_tokenizer(parser, required=False)


def run(args: argparse.Namespace) -> None:
    """Print two columns."""
    rows = [
        *library.describe().items(),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()}, {platform.machine()})"),
        ("numpy", np.__version__),
    ]
    if args.tokenizer:
        rows += _describe_tokenizer(args)
    elif args.special_token or args.pattern:
        msg = "--special-token and --pattern go with --tokenizer"
        raise ValueError(msg)
    write(text_table(rows, left=2) + "\n")


def _describe_tokenizer(args: argparse.Namespace) -> list[tuple[str, str]]:
    tokenizer = open_tokenizer(args.tokenizer, args)
    specials = [f"{quoted(token.encode())} = {i}" for token, i in special_ids(tokenizer).items()]
    return [
        ("tokenizer", args.tokenizer),
        ("tokens", f"{tokenizer.vocab_size:,}"),
        ("merges", f"{len(tokenizer.merges):,}"),
        ("pattern", tokenizer.pattern),
        ("special tokens", ", ".join(specials) or "none"),
        ("fingerprint", tokenizer.fingerprint),
    ]
