"""What every part of the package refuses, said once."""

import math
from collections.abc import Collection


def require_positive_int(name: str, value: object) -> None:
    """Refuse all but an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{name} must be at least 1, got {value}"
        raise ValueError(msg)


def require_whole(name: str, value: object) -> None:
    """Refuse all but an int of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    if value < 0:
        msg = f"{name} must be at least 0, got {value}"
        raise ValueError(msg)


def require_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuse all but the listed values."""
    if value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"
        raise ValueError(msg)


def require_bool(name: str, value: object) -> None:
    """Refuse all but True and False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, got {value!r}"
        raise TypeError(msg)


def require_multiple(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """Refuse what the divisor does not divide."""
    if value % divisor != 0:
        msg = f"{name} must be a multiple of {divisor_name}, got {value} and {divisor}"
        raise ValueError(msg)


def require_number(name: str, value: object, *, at_most: float = math.inf, zero: bool = False) -> None:
    """Refuse all but a finite number above 0 (with `zero`, from 0) that is at most `at_most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    # Written so that NaN, for which every comparison is false, is refused.
    if not ((value >= 0 if zero else value > 0) and value <= at_most and value != math.inf):
        lower = "at least 0" if zero else "more than 0"
        upper = "finite" if at_most == math.inf else f"at most {at_most:g}"
        msg = f"{name} must be {lower} and {upper}, got {value}"
        raise ValueError(msg)
