"""Print every accounting answer of Stanford CS336, assignment 1 (2025), each with its formula, in Markdown.

Examples:
    uv run apps/answers.py
    uv run apps/answers.py > docs/answers.md
    uv run apps/answers.py --dry-run            # the questions alone
"""

import sys
from dataclasses import dataclass

from recipes.accounting_answers import answers
from recipes.command_line import read_flags
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to print."""

    dry_run: bool = False
    """Print the questions, without the answers."""


def main(flags: Flags) -> int:
    """Print the answers, or what they answer."""
    told = answers()
    if flags.dry_run:
        told = "\n".join(line.removeprefix("## ") for line in told.splitlines() if line.startswith("## "))
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
