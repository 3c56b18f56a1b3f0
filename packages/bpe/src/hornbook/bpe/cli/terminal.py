"""Standard output for results, standard error for everything said about them; text or exact bytes."""

import contextlib
import os
import sys
from collections.abc import Mapping
from io import BufferedReader
from typing import TextIO, cast

from .spelling import one_line


def write(text: str) -> None:
    """Write a result. Characters that the terminal's encoding lacks are spelled as escapes."""
    stream = _stdout()
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def write_bytes(data: bytes) -> None:
    """Write bytes as they are, after what was written as text."""
    stream = _stdout()
    stream.flush()
    stream.buffer.write(data)


def flush() -> None:
    """Hand over what was written."""
    if sys.stdout is not None:
        sys.stdout.flush()


def stdin() -> BufferedReader:
    """Standard input as bytes."""
    if sys.stdin is None:
        msg = "standard input is closed; name a file instead of -"
        raise ValueError(msg)
    return cast("BufferedReader", sys.stdin.buffer)


def say(line: str) -> None:
    """Say something about the work in one line on standard error, whatever is in the name of a file."""
    # Whoever closed standard error does not want to hear; the exit code still tells.
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"{one_line(line)}\n".encode(errors="backslashreplace").decode())
            sys.stderr.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person watches this stream."""
    return stream is not None and not stream.closed and stream.isatty()


def color_depth(when: str, *, terminal: bool, environment: Mapping[str, str] = os.environ) -> int:
    """How many bits a color may have: 24, 8, or 0 for no color.

    Args:
        when: "always", "never", or "auto": if a person watches and has not set NO_COLOR (no-color.org).
        terminal: Whether a person watches.
        environment: NO_COLOR, TERM and COLORTERM are read.

    Example:
        >>> color_depth("auto", terminal=True, environment={"COLORTERM": "truecolor"})
        24
        >>> color_depth("auto", terminal=True, environment={"COLORTERM": "truecolor", "NO_COLOR": "1"})
        0
    """
    watched = terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    if when == "never" or (when == "auto" and not watched):
        return 0
    return 24 if environment.get("COLORTERM") in ("truecolor", "24bit") else 8


def _stdout() -> TextIO:
    if sys.stdout is None:
        msg = "standard output is closed; name a file with --out, or send the output somewhere"
        raise ValueError(msg)
    return sys.stdout
