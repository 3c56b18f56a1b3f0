"""The source of Python's own library as a text: real, different from stories, and on every machine.

It takes the place of web text where there is none: what a tokenizer or a model learns on stories fits it
badly, and that is what the experiments with two corpora are about.
"""

import hashlib
import platform
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from hornbook.trainer import atomic_file

from .stories import END_OF_TEXT, Split

PYTHON_NAME = f"source of Python {platform.python_version()}'s library, not OpenWebText"
_HELD_OUT = 20  # a file of so many


def library_version() -> str:
    """Return the name of the text: another Python has another library.

    Example:
        >>> library_version() == platform.python_version()
        True
    """
    return platform.python_version()


def write_library(
    path: Path, *, num_bytes: int, split: Split, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write modules, each a document closed by a line with `<|endoftext|>`, until `num_bytes` are reached.

    The order, and which modules are held out, depend on their names alone. If the library is shorter, all of
    it is written.

    Args:
        path: Where the file goes, whole or not at all; its folder is made if need be.
        num_bytes: Size at which no further module is begun.
        split: "train", or "valid" for the modules held out.
        progress: Called with the bytes written and `num_bytes`.

    Raises:
        ValueError: If this Python has no library in source.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        written = 0
        for source in _modules(split):
            if written >= num_bytes:
                break
            document = f"{source}\n{END_OF_TEXT}\n".encode()
            file.write(document)
            written += len(document)
            if progress is not None:
                progress(min(written, num_bytes), num_bytes)
        if not written:
            msg = "this Python has no library in source: give a text of your own with --train-text"
            raise ValueError(msg)


def _modules(split: Split) -> Iterator[str]:
    root = Path(sysconfig.get_path("stdlib"))
    keyed = []
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        # What was installed beside the library is not of it, and the tests are half of it.
        if not {"site-packages", "dist-packages", "test", "tests"} & set(name.parts):
            keyed.append((hashlib.sha256(name.as_posix().encode()).digest(), path))
    for key, path in sorted(keyed):
        if (key[0] % _HELD_OUT == 0) == (split == "valid"):
            try:
                source = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
            if source and END_OF_TEXT not in source:
                yield source
