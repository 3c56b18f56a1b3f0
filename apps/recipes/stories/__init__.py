"""A seeded generator of children's stories: the text to train on when no data set is on disk."""

import hashlib
from functools import cache
from pathlib import Path

from .generate import Combination, Split, combination, story
from .write import END_OF_TEXT, write_stories

__all__ = ["END_OF_TEXT", "Combination", "Split", "combination", "story", "version", "write_stories"]


@cache
def version() -> str:
    """Return a name for these words, plots and rules: it changes whenever the stories may."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(p for p in root.rglob("*") if p.suffix in {".py", ".txt"}):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]
