"""Sizes, rates and durations as a person reads them."""


def num_bytes(size: float) -> str:
    """Bytes in decimal units.

    Example:
        >>> num_bytes(999), num_bytes(2_345_678), num_bytes(825e9)
        ('999 bytes', '2.3 MB', '825.0 GB')
    """
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def rate(size: float, seconds: float) -> str:
    """Megabytes a second.

    Example:
        >>> rate(3_000_000, 2), rate(10, 0)
        ('1.50 MB/s', '-')
    """
    return f"{size / seconds / 1e6:.2f} MB/s" if seconds > 0 else "-"


def duration(seconds: float) -> str:
    """A time in the one or two units that matter.

    Example:
        >>> [duration(t) for t in (0.123, 9.99, 90, 7_260, 200_000)]
        ['0.12 s', '9.99 s', '1 min 30 s', '2 h 01 min', '2 d 07 h']
    """
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    total = round(seconds)
    if total < 3_600:
        return f"{total // 60} min {total % 60:02} s"
    if total < 2 * 86_400:
        return f"{total // 3_600} h {total % 3_600 // 60:02} min"
    return f"{total // 86_400} d {total % 86_400 // 3_600:02} h"
