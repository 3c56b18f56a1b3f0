"""Reads a command line into a frozen value; a wrong word ends the program, naming what was meant."""

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from typing import Any, NoReturn, TypeVar

import tyro
from tyro import _errors  # no public name tells what was wrong; pyproject.toml pins the version for it

from .console import complain, one_voice
from .nearest import nearest

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
        SystemExit: With code 2 on a wrong word, after a line on standard error that names the field, what was
            given and the nearest right one; 0 after --help.
    """
    words = apart(arguments)

    def refuse(event: _errors.ParseErrorEvent) -> None:
        if isinstance(event, _errors.UnrecognizedArgs):
            _end(_unknown(event.tokens, words, _flags_of(kind, **options)))
        if (told := _told(event, words)) is not None:
            _end(told)

    with one_voice(), _errors.on_parse_error(refuse):
        flags: FlagsT = tyro.cli(kind, args=words, description=description, **options)
    return flags


def apart(words: Sequence[str]) -> list[str]:
    """Return `--flag=value` as two words: tyro gives a wrong flag only as a whole.

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


def _end(told: str) -> NoReturn:
    complain(f"error: {told}")
    sys.exit(2)


def _told(event: _errors.ParseErrorEvent, words: Sequence[str]) -> str | None:
    """What is wrong; None if tyro shall say it in its own way."""
    if isinstance(event, _errors.MissingArgs):
        args = [one.arg for one in event.missing_arguments]
        forms = [f"{'' if arg.is_positional() else arg.display_name()} {arg.lowered.metavar}" for arg in args]
        return f"missing: {', '.join(form.strip() for form in forms)}"
    if isinstance(event, _errors.InstantiationFailure) and event.argument is None:
        return event.message  # of a check of our own
    if not isinstance(event, _errors.InvalidChoice | _errors.BadValue | _errors.InstantiationFailure):
        return None
    assert event.argument is not None
    name, form = event.argument.display_name(), str(event.argument.lowered.metavar)
    given = event.value if isinstance(event, _errors.InvalidChoice) else _given(words, name)
    choices = [one for group in re.findall(r"\{(.*?)\}", form) for one in group.split(",") if one != "None"]
    near = f"; the nearest is {nearest(given, choices)}" if choices and given else ""
    return f"{name} must be {_form(form)}, got {given or 'nothing'}{near}"


def _form(metavar: str) -> str:
    """Say what a value looks like.

    Example:
        >>> [_form(one) for one in ("{pre,post}", "{None}|INT", "[{lr,batch}]", "[FLOAT [FLOAT ...]]")]
        ['pre or post', 'None or INT', 'lr or batch', 'FLOAT FLOAT ...']
    """
    repeated = re.sub(r"\[(\w+) \[\1 \.\.\.\]\]", r"\1 \1 ...", metavar)
    words = re.split(r"[,|]", re.sub(r"[][{}]", "", repeated))
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _unknown(tokens: Sequence[str], words: Sequence[str], flags: Sequence[str]) -> str:
    """Words that have no place: flags that there are not, or what stands where no word is expected."""
    wrong = [token.split("=")[0] for token in tokens if token.startswith("-")]
    if wrong:
        return "; ".join(
            f"there is no flag {flag}, the nearest is {_nearest_flag(flag, flags)}" for flag in wrong
        )
    word = tokens[0]
    before = words[words.index(word) - 1] if word in words[1:] else ""
    if f"--no-{before[2:]}" in flags:
        return f"{before} takes no value, got {word}: give {before} or --no-{before[2:]}"
    return f"{word} has no place here: it is no flag, nor does one before it take it"


def _nearest_flag(wrong: str, flags: Sequence[str]) -> str:
    """The nearest flag, also where a field was named with its part, as in --optimizer.max_lr."""
    name = wrong.lstrip("-").replace("_", "-")
    names = [flag[2:] for flag in flags]
    return "--" + nearest(name.rpartition(".")[2] if name.rpartition(".")[2] in names else name, names)


def _flags_of(kind: type[Any], **options: Any) -> list[str]:
    """All flags, from --help, where each stands after more than one space."""
    with redirect_stdout(io.StringIO()) as told, suppress(SystemExit):
        tyro.cli(kind, args=["--help"], description="", **options)
    lines = re.findall(r"  (--[a-z][a-z0-9-]*)(?:, (--[a-z0-9-]+))?", told.getvalue())
    return [flag for line in lines for flag in line if flag]


def _given(words: Sequence[str], flag: str) -> str:
    """The words after a flag, up to the next one; of a flag given twice, the last, which is what counts."""
    if flag not in words:
        return ""
    rest = words[len(words) - words[::-1].index(flag) :]
    end = next((index for index, word in enumerate(rest) if word.startswith("--")), len(rest))
    return " ".join(rest[:end])
