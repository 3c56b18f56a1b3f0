"""Flags that several commands share, and the checks of what they name."""

import argparse
from pathlib import Path

from .terminal import stdin

ENDOFTEXT = "<|endoftext|>"
INPUT_HELP = "a file (plain, .gz or .zst), a quoted glob such as 'data/*.txt', or - for standard input"


def add_inputs(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Texts to read, in this order; each is a text of its own."""
    parser.add_argument("input", nargs="*" if optional else "+", metavar="INPUT", help=INPUT_HELP)


def add_cutting(parser: argparse.ArgumentParser) -> None:
    """How text is cut before anything is counted."""
    parser.add_argument(
        "--pattern",
        metavar="P",
        help="gpt2, cl100k, o200k or a regex in the syntax of the package regex (default: gpt2)",
    )
    specials = parser.add_mutually_exclusive_group()
    specials.add_argument(
        "--special-token",
        action="append",
        metavar="T",
        help=f"a string that is cut out of the text and stands for itself; repeatable (default: {ENDOFTEXT})",
    )
    specials.add_argument("--no-special-tokens", action="store_true", help="the text has none")


def cutting(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The pattern and the special tokens, with their defaults."""
    specials = [] if args.no_special_tokens else args.special_token or [ENDOFTEXT]
    return args.pattern or "gpt2", specials


def add_work(parser: argparse.ArgumentParser, *, threads: bool = True) -> None:
    """How the work is done and shown."""
    if threads:
        parser.add_argument(
            "--num-threads", type=int, metavar="N", help="threads (default: one for each processor)"
        )
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")


def source(inputs: list[str]) -> str | list[str]:
    """INPUT... as the library takes it: - has its meaning if it is alone."""
    if inputs == ["-"]:
        stdin()  # or says that there is none
    elif "-" in inputs:
        msg = "- is standard input only if it is the one INPUT; name ./- for a file of that name"
        raise ValueError(msg)
    return inputs[0] if len(inputs) == 1 else inputs


def check_new(path: str | Path) -> Path:
    """Refuse, before the work starts, to write over what is there.

    Raises:
        FileExistsError: If there is something; an empty directory is nothing.
        NotADirectoryError: If the path leads through a file.
    """
    target = Path(path)
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        msg = f"{target} exists and would be lost: name another with --out, or remove it first"
        raise FileExistsError(msg)
    for folder in target.absolute().parents:
        if folder.exists():
            if not folder.is_dir():
                msg = f"{folder} is a file: {target} can't be made inside it"
                raise NotADirectoryError(msg)
            break
    return target
