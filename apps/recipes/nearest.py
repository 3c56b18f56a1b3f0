"""The word that was probably meant."""

import difflib
from collections.abc import Sequence


def nearest(word: str, allowed: Sequence[str]) -> str:
    """Return which of some words is most like another, whatever their case; the first, if none is at all.

    Example:
        >>> nearest("dmo", ["gpu", "demo"]), nearest("PST", ["pre", "post"]), nearest("x", ["a", "b"])
        ('demo', 'post', 'a')
    """
    matcher = difflib.SequenceMatcher(b=word.casefold())

    def likeness(other: str) -> float:
        matcher.set_seq1(other.casefold())
        return matcher.ratio()

    return max(allowed, key=likeness)
