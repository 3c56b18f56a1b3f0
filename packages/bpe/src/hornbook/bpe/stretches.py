"""Stretches of a file: where each ends is found first, its text is read when somebody works on it."""

import os
from collections.abc import Iterator
from pathlib import Path

from .cuts import SafeCuts

# So much is read before the end of a stretch to find a cut there; nearly always that is enough.
_WINDOW_BYTES = 1 << 12


class FileStretches:
    """A regular file that stays open as long as somebody refers to it; needs `os.pread`.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        self._file = path.open("rb", buffering=0)
        self._first_size = self._size()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def places(self, cuts: SafeCuts, size: int) -> Iterator[tuple[int, int]]:
        """Where stretches of about `size` bytes begin and end: at safe cuts, as long as that takes.

        Raises:
            ValueError: If the file was cut short since it was opened.
        """
        begin = searched = 0  # of the stretch; up to where there is no cut in it
        while searched + size <= (end := self._size()):
            cut = self._last_cut(cuts, searched, searched + size)
            searched += size
            if cut is not None:
                yield begin, cut
                begin = searched = cut
        if begin < end:
            yield begin, end
        check_whole(self._name, self._first_size, end)

    def read(self, begin: int, end: int) -> bytes:
        """The text between two places; for any thread.

        Raises:
            ValueError: If the file was cut short since.
        """
        text = self._pread(begin, end)
        if len(text) < end - begin:
            check_whole(self._name, max(self._first_size, end), begin + len(text))
        return text

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _last_cut(self, cuts: SafeCuts, begin: int, end: int) -> int | None:
        window = _WINDOW_BYTES
        while True:
            at = max(begin, end - window)
            cut = cuts.last(self._pread(at, end))
            if cut is not None:
                return at + cut
            if at == begin:
                return None
            window *= 16

    def _pread(self, begin: int, end: int) -> bytes:
        parts: list[bytes] = []  # nearly always one: the system reads no more than 2 GB at a time
        while begin < end and (part := os.pread(self._file.fileno(), end - begin, begin)):
            parts.append(part)
            begin += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def check_whole(name: str, size: int, now: int) -> None:
    """Refuse a file that has become shorter.

    Raises:
        ValueError: If it has.
    """
    if now < size:
        msg = f"{name} was cut short while it was being read: it had {size} bytes, now {now}"
        raise ValueError(msg)
