"""Text up to a stop string, shown as it comes."""

from collections.abc import Sequence


class StopStrings:
    r"""Lets text through, piece by piece, until one of some strings is complete, which it keeps back.

    What may be the beginning of a stop string waits until it is certain to be none. What is let through does
    not hang on how the text is cut into pieces: the stop string that is complete first counts, at whichever
    character that is, and of two that end there the longer.

    Args:
        stop_strings: None of them empty; without any, all text goes through at once.

    Raises:
        TypeError: If `stop_strings` is one string, or anything in it is none.
        ValueError: If one is empty.

    Example:
        >>> text = StopStrings(["The end", "\n\n"])
        >>> [text.push(piece) for piece in ["A cat.", " The", " dog. T", "he en", "d. Or"]]
        ['A cat.', ' ', 'The dog. ', '', '']
        >>> text.stopped
        True
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        if isinstance(stop_strings, str):
            msg = f"stop_strings must be a list of strings, got one: write [{stop_strings!r}]"
            raise TypeError(msg)
        for string in stop_strings:
            if not isinstance(string, str):
                msg = f"a stop string must be a str, got {string!r} of type {type(string).__name__}"
                raise TypeError(msg)
            if not string:
                msg = "a stop string must not be empty: it would stop every text at once"
                raise ValueError(msg)
        self._stop_strings = tuple(stop_strings)
        self._waiting = ""
        self.stopped = False  # whether a stop string has come

    def push(self, piece: str) -> str:
        """Return what became certain to come before any stop string; nothing once one has come.

        Args:
            piece: The text that follows what was pushed before.
        """
        if self.stopped:
            return ""
        # An occurrence that ends in this piece begins in it or in what is waiting.
        text = self._waiting + piece
        found = [(text.find(string), string) for string in self._stop_strings if string in text]
        if found:
            begin, _ = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            self.stopped, self._waiting = True, ""
            return text[:begin]
        certain = len(text) - max((_overlap(text, string) for string in self._stop_strings), default=0)
        self._waiting = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """Return what is waiting: the text has ended, so it is no stop string."""
        waiting, self._waiting = self._waiting, ""
        return waiting


def _overlap(text: str, string: str) -> int:
    """Return the length of the longest end of `text` that is a beginning of `string`, but not all of it."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if string.startswith(text[-n:])), 0)
