"""JSON that may come from anywhere: small, without doubles, or refused."""

import json
from typing import Any

Json = dict[str, Any]

# Python's values take up to thirty times the bytes of their text: this stays below 200 MB. A line of JSON a
# tensor is about 100 bytes, so it is enough for 40,000 of them.
MOST_BYTES = 4 * 2**20


def parse_object(raw: bytes) -> Json:
    """Read one JSON object; unlike `json.loads`, never guess what was meant.

    Raises:
        ValueError: If it is no object, too large or too deep, names a key twice, or holds NaN or infinity;
            the message goes on where the name of its source ends.

    Example:
        >>> parse_object(b'{"step": 3}')
        {'step': 3}
        >>> parse_object(b'{"step": 3, "step": 4}')
        Traceback (most recent call last):
        ValueError: names 'step' twice
    """
    if len(raw) > MOST_BYTES:
        msg = f"has more than {MOST_BYTES:,} bytes of JSON"
        raise ValueError(msg)
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"is not JSON: {error}"
        raise ValueError(msg) from error
    except RecursionError as error:
        msg = "is nested too deep"
        raise ValueError(msg) from error
    if not isinstance(value, dict):
        msg = f"is a {type(value).__name__}, not an object of JSON"
        raise ValueError(msg)
    return value


def dump(value: Json, *, indent: int | None = None) -> bytes:
    """Write JSON that `parse_object` reads.

    Raises:
        ValueError: If it holds NaN or infinity, or is too large.
        TypeError: If it holds what JSON can't.
    """
    raw = json.dumps(value, indent=indent, allow_nan=False).encode()
    if len(raw) > MOST_BYTES:
        msg = f"{len(raw):,} bytes of JSON to write, at most {MOST_BYTES:,} can be read again"
        raise ValueError(msg)
    return raw


def _once(pairs: list[tuple[str, Any]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        msg = f"names {twice[:100]!r} twice"
        raise ValueError(msg)
    return value


def _no_number(constant: str) -> None:
    msg = f"holds {constant}, which is no number of JSON"
    raise ValueError(msg)
