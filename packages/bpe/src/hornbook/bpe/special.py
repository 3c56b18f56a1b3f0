"""Special tokens: strings that stand for themselves and are cut out of the text before anything else."""

import re
from collections.abc import Mapping, Sequence


def check_special_tokens(special_tokens: Sequence[str]) -> list[str]:
    """Return the special tokens as a list.

    Raises:
        TypeError: If it is one string, or holds anything but strings.
        ValueError: If one is empty, given twice, or cannot be written in UTF-8.
    """
    if isinstance(special_tokens, str | bytes) or not isinstance(special_tokens, Sequence):
        msg = (
            f"special_tokens must be a sequence of strings such as ['<|endoftext|>'], got {special_tokens!r}"
        )
        raise TypeError(msg)
    for index, token in enumerate(special_tokens):
        if not isinstance(token, str):
            msg = f"special_tokens[{index}] must be a string, got {token!r}"
            raise TypeError(msg)
        if not token:
            msg = f"special_tokens[{index}] is empty: an empty string would match everywhere"
            raise ValueError(msg)
        if token in special_tokens[:index]:
            msg = f"special token {token!r} is given twice"
            raise ValueError(msg)
        if surrogate_position(token) is not None:
            msg = f"special token {token!r} holds half a surrogate pair, which UTF-8 cannot express"
            raise ValueError(msg)
    return list(special_tokens)


def surrogate_position(text: str) -> int | None:
    """Where the first lone surrogate of `text` is, None if there is none."""
    match = re.search("[\ud800-\udfff]", text)
    return match.start() if match else None


class SpecialTokens:
    """Some special tokens with their ids, ready to be cut out of text: where several start, the longest wins.

    Args:
        ids: The id of each token. Where text is only counted, ids are of no account.

    Example:
        >>> SpecialTokens({"<e>": 0, "<e><e>": 1}).split("one<e><e><e>two")
        ['one', '<e><e>', '', '<e>', 'two']
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(sorted(ids.items(), key=lambda item: len(item[0].encode()), reverse=True))
        self._pattern = re.compile(f"({'|'.join(map(re.escape, self.ids))})") if ids else None
        self.native: object = None  # the same for the compiled core, once it was asked for

    def split(self, text: str) -> list[str]:
        """Ordinary text at even indices (it may be empty), special tokens at odd ones."""
        return [text] if self._pattern is None else self._pattern.split(text)
