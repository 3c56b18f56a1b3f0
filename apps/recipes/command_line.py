"""Reads a command line into a frozen value; a wrong word ends the program, naming what was meant."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from .console import one_voice

FlagsT = TypeVar("FlagsT")


def read_flags(
    kind: type[FlagsT], description: str | None, arguments: Sequence[str], **options: Any
) -> FlagsT:
    """Read a command line by tyro.

    Args:
        kind: A dataclass: its fields are the flags.
        description: The head of --help: what the app does, with examples.
        arguments: The words after the program's name.
        options: Further ones of `tyro.cli`.

    Raises:
        SystemExit: With code 2 on a flag that is unknown (the nearest is named) or ill-typed; 0 after --help.
    """
    with one_voice():
        flags: FlagsT = tyro.cli(kind, args=apart(arguments), description=description, **options)
    return flags


def apart(words: Sequence[str]) -> list[str]:
    """Return `--flag=value` as two words: tyro looks for the flag nearest to the whole, and finds none.

    A value that looks like a flag itself stays where it is.

    Example:
        >>> apart(["lr", "--dtyp=float16", "--grid=seed=1,2", "--max-lr=-1"])
        ['lr', '--dtyp', 'float16', '--grid', 'seed=1,2', '--max-lr=-1']
    """
    parts: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        parts += [flag, value] if flag.startswith("--") and equals and not value.startswith("-") else [word]
    return parts
