"""The most memory that training took, measured, and written into the run's directory."""

import ctypes
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.trainer import atomic_file

if TYPE_CHECKING:
    import torch

_FILE = "memory.json"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def watch_memory(device: "torch.device") -> Callable[[], int | None]:
    """Begin to watch how much memory is taken.

    Returns:
        Tells the most that was taken since, in bytes: of a GPU by tensors, else by this process beyond what
        it had, without files that are mapped. None where it can't be measured.
    """
    if device.type == "cuda":
        import torch  # here: a report reads what was written, and does without

        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    try:
        # A tokenizer's training, or another run, has left room, which would be used again and not be seen.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")  # the peak is what is there now
        before = _status()
    except (OSError, AttributeError, TypeError, KeyError):  # no Linux, or its C library is not GNU's
        return lambda: None

    def most() -> int | None:
        after = _status()
        # Mapped files, as torch's own code at its first step and the tokens, are no memory of the model.
        files = after["RssFile"] - before["RssFile"]
        taken = after["VmHWM"] - before["VmRSS"] - max(0, files)
        return taken if taken > 0 else None  # what there was room for all the same was not measured

    return most


@contextmanager
def recorded_peak(most_bytes: Callable[[], int | None], directory: Path) -> Iterator[None]:
    """Write `memory.json` when what stands inside has ended, well or not: the most of this and earlier calls.

    Args:
        most_bytes: What `watch_memory` returned.
        directory: Of the run.
    """
    try:
        yield
    finally:
        if (peak := most_bytes()) is not None:
            most = max(peak, read_peak(directory) or 0)
            # A disk that is full is told by what matters more.
            with suppress(OSError), atomic_file(directory / _FILE) as file:
                file.write(json.dumps({"peak_bytes": most}).encode() + b"\n")


def read_peak(directory: Path) -> int | None:
    """Return what was written; None if nothing was, or nothing that was measured."""
    try:
        peak = json.loads((directory / _FILE).read_bytes())["peak_bytes"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return peak if isinstance(peak, int) and peak > 0 else None


def _status() -> dict[str, int]:
    """What this process has in memory, in bytes: now, at most, of files."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssFile")}
