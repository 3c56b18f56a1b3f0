"""Whether a disk has room for what will be written."""

import shutil
from pathlib import Path


def check_free_bytes(place: Path, needed_bytes: int, what: str, way_out: str) -> None:
    """Refuse a disk that can't take it, before anything is written.

    Args:
        place: Where it goes; it need not be there.
        needed_bytes: How much it is.
        what: Its name, for the message.
        way_out: What to do about it.

    Raises:
        OSError: Naming the bytes needed and the bytes free.
    """
    usage = shutil.disk_usage(next(path for path in (place, *place.absolute().parents) if path.is_dir()))
    # A total of 0 is no disk: what is wrong there shows when it is written.
    if usage.free < needed_bytes and usage.total:
        msg = f"no room for {what} in {place}: {needed_bytes:,} bytes needed, {usage.free:,} free; {way_out}"
        raise OSError(msg)
