"""Numbers as people write them: three significant digits and a unit."""

from ._checks import require_number


class Share(float):
    """A part of a whole, from 0 to 1: a number like others, which tables write as per cent."""


# The largest unit first.
_COUNTS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k"), (1.0, ""))
_FLOPS = (
    (1e24, " YFLOP"),
    (1e21, " ZFLOP"),
    (1e18, " EFLOP"),
    (1e15, " PFLOP"),
    (1e12, " TFLOP"),
    (1e9, " GFLOP"),
    (1e6, " MFLOP"),
    (1e3, " kFLOP"),
    (1.0, " FLOP"),
)
_SECONDS = (
    (365.25 * 86_400, " years"),
    (86_400.0, " days"),
    (3_600.0, " h"),
    (60.0, " min"),
    (1.0, " s"),
    (1e-3, " ms"),
    (1e-6, " µs"),
)
_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B"))
_BYTE_UNITS = {"B": 1} | {
    f"{prefix}{end}": base**power
    for end, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate(("k" if base == 1000 else "K", "M", "G", "T"), start=1)
}


def format_bytes(num_bytes: float) -> str:
    """Write a number of bytes; GB is 10^9.

    Args:
        num_bytes: The number, at least 0.

    Raises:
        ValueError: If it is negative or not finite.
        TypeError: If it is not a number.

    Example:
        >>> format_bytes(8_508_230_400), format_bytes(512)
        ('8.51 GB', '512 B')
    """
    require_number("num_bytes", num_bytes, zero=True)
    return _format(num_bytes, _BYTES)


def parse_bytes(text: str) -> int:
    """Read a number of bytes with a unit: GB is 10^9, GiB is 2^30, and so are the others.

    Args:
        text: A number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB.

    Raises:
        ValueError: If it is something else, or not more than 0.

    Example:
        >>> parse_bytes("80GB"), parse_bytes("80 GiB")
        (80000000000, 85899345920)
    """
    number = text.rstrip("kKMGTiB")
    unit = text[len(number) :]
    try:
        num_bytes = float(number) * _BYTE_UNITS[unit]
    except (KeyError, ValueError):
        msg = f"bytes are a number and one of {', '.join(_BYTE_UNITS)}, such as 80GB or 80GiB, got {text!r}"
        raise ValueError(msg) from None
    require_number("bytes", num_bytes)
    return int(num_bytes)


def format_count(count: float) -> str:
    """Write a number of things, such as parameters or tokens.

    Args:
        count: The number, at least 0.

    Raises:
        ValueError: If it is negative or not finite.
        TypeError: If it is not a number.

    Example:
        >>> format_count(22_696_448), format_count(2_127_057_600), format_count(512)
        ('22.7 M', '2.13 B', '512')
    """
    require_number("count", count, zero=True)
    return _format(count, _COUNTS)


def format_flops(flops: float) -> str:
    """Write a number of floating-point operations.

    Args:
        flops: The number, at least 0.

    Raises:
        ValueError: If it is negative or not finite.
        TypeError: If it is not a number.

    Example:
        >>> format_flops(9_533_652_992), format_flops(4_513_336_524_800)
        ('9.53 GFLOP', '4.51 TFLOP')
    """
    require_number("flops", flops, zero=True)
    return _format(flops, _FLOPS)


def format_seconds(seconds: float) -> str:
    """Write a duration in the largest unit that it fills.

    Args:
        seconds: The duration, at least 0. A year has 365.25 days.

    Raises:
        ValueError: If it is negative or not finite.
        TypeError: If it is not a number.

    Example:
        >>> format_seconds(5_040), format_seconds(0.25), format_seconds(1e6)
        ('1.4 h', '250 ms', '11.6 days')
    """
    require_number("seconds", seconds, zero=True)
    return _format(seconds, _SECONDS)


def _format(value: float, units: tuple[tuple[float, str], ...]) -> str:
    # Rounded before the unit is chosen: 999,999 is "1 M", not "1e+03 k".
    size, name = next((unit for unit in units if float(f"{value / unit[0]:.3g}") >= 1), units[-1])
    digits = f"{value / size:.3g}"
    # Four digits before the point only happen in the largest unit.
    return (digits if value / size < 999.5 else f"{value / size:,.0f}") + name
