"""`python -m hornbook.bpe`: train a tokenizer, use it, look at it."""

import argparse
import difflib
import importlib
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, cast

from .cli.outcome import exit_code_of

PROG = "python -m hornbook.bpe"
COMMANDS = {
    "train": "learn a vocabulary from text",
    "encode": "turn text into token ids",
    "decode": "turn token ids back into text",
    "count": "count the pretokens of text, or add such counts",
    "info": "say what runs here, and what a tokenizer is",
    "stats": "measure tokenizers on texts: bytes per token, throughput, unused tokens",
    "show": "show where the tokens of a text begin and end",
}
EXAMPLE = """{prog} train stories.txt --vocab-size 10_000 --out tokenizer
{prog} encode stories.txt --tokenizer tokenizer --out stories.bin
{prog} stats stories.txt --tokenizer tokenizer"""


class Command(Protocol):
    """A module of `cli`."""

    DESCRIPTION: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what the command takes."""

    def run(self, args: argparse.Namespace) -> None:
        """Do it."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Name a misspelt option: argparse would miss the one that was meant, if that is required."""
        options = self._option_string_actions
        for name in [word.partition("=")[0] for word in args or ()] if self.get_default("run") else []:
            if name == "--":
                break
            if name.startswith("--") and name not in options:
                nearest = difflib.get_close_matches(name, options, 1)
                self.error(f"there is no {name}" + "".join(f"; the nearest is {other}" for other in nearest))
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage, which hides the message."""
        msg = f"{message}; `{self.prog} --help` explains"
        raise ValueError(msg)


def make_parser(chosen: str | None) -> Parser:
    """The command line.

    Args:
        chosen: The command to be run. Only its module is imported: `--help` must not wait for numpy.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog=PROG,
        description="Byte-level BPE: train a vocabulary, encode text to token ids, decode them; exactly.",
        epilog=f"{_example(EXAMPLE)}\n\n`{PROG} COMMAND --help` explains a command.",
        formatter_class=raw,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=raw, allow_abbrev=False)
        if name == chosen:
            module = cast("Command", importlib.import_module(f".cli.{name}", __package__))
            command.description = module.DESCRIPTION
            command.epilog = _example(module.EXAMPLE)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _example(lines: str) -> str:
    return "for example:\n" + textwrap.indent(lines.replace("{prog}", PROG), "  ")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: What follows `python -m hornbook.bpe`; by default what this process was given.

    Returns:
        0; 2 on wrong usage or input, after one line on standard error; 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)

    def program() -> None:
        args = make_parser(arguments[0] if arguments else None).parse_args(arguments)
        args.run(args)

    return exit_code_of(program)


if __name__ == "__main__":
    sys.exit(main())
