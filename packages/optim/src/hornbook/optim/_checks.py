"""Which numbers every part of the package refuses, said once."""

import math
from numbers import Real


def require_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float = math.inf,
) -> None:
    """Refuse all but a real number that is at least `least`, more than `above` and less than `below`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name} must be a number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    number = float(value)
    # Written so that NaN, for which every comparison is false, is refused.
    fits = (least is None or number >= least) and (above is None or number > above) and number < below
    if not fits:
        lower = f"more than {above:g}" if least is None else f"at least {least:g}"
        upper = "finite" if below == math.inf else f"less than {below:g}"
        msg = f"{name} must be {lower} and {upper}, got {value}"
        raise ValueError(msg)


def require_count(name: str, value: object) -> None:
    """Refuse all but an int that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    if value < 0:
        msg = f"{name} must not be negative, got {value}"
        raise ValueError(msg)


def require_flag(name: str, value: object) -> None:
    """Refuse all but True and False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, got {value!r}"
        raise TypeError(msg)
