"""Write stories to a file in the format of the TinyStories text files."""

from collections.abc import Callable
from pathlib import Path

from hornbook.trainer import atomic_file

from .generate import Split, story

END_OF_TEXT = "<|endoftext|>"
_STORIES_AT_ONCE = 256  # some 200 KB between two reports of progress


def write_stories(
    path: Path,
    *,
    num_bytes: int,
    seed: int,
    split: Split,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    r"""Write whole stories, each closed by a line with `<|endoftext|>`, until `num_bytes` are reached.

    The same arguments give the same bytes on every machine. The file is written aside, flushed to the disk
    and renamed: under `path` there is the whole file or what was there before.

    Args:
        path: Where the file goes; its folder is made if need be.
        num_bytes: Least size of the file in bytes; the last story goes beyond it.
        seed: Chooses the collection of stories.
        split: "train", or "valid" for stories about what no training story is about.
        progress: Called now and then with the bytes written and `num_bytes`.

    Raises:
        OSError: If the folder cannot be written to or the disk is full.
        TypeError: If a number is not an integer.
        ValueError: If `num_bytes` is not positive or the split unknown.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "valid.txt"
        ...     write_stories(path, num_bytes=10_000, seed=0, split="valid")
        ...     path.read_text(encoding="ascii").endswith(".\n<|endoftext|>\n"), path.stat().st_size >= 10_000
        (True, True)
    """
    if not isinstance(num_bytes, int) or isinstance(num_bytes, bool):
        msg = f"num_bytes must be an integer, got {num_bytes!r}"
        raise TypeError(msg)
    if num_bytes < 1:
        msg = f"num_bytes must be at least 1, got {num_bytes}"
        raise ValueError(msg)
    story(seed, 0, split)  # refuses wrong arguments before anything is written
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, needed_bytes=num_bytes) as file:
        written = index = 0
        while written < num_bytes:
            batch = bytearray()
            for number in range(index, index + _STORIES_AT_ONCE):
                batch += f"{story(seed, number, split)}\n{END_OF_TEXT}\n".encode("ascii")
                if written + len(batch) >= num_bytes:
                    break
            file.write(batch)
            index += _STORIES_AT_ONCE
            written += len(batch)
            if progress is not None:
                progress(written, num_bytes)
