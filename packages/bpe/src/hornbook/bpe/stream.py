"""Decode ids one at a time, as a model generates them."""

import codecs

from .tokenizer import Tokenizer


class StreamDecoder:
    """Turns ids into text as they come; never shows half a character.

    What `push` and `finish` return, joined, is `tokenizer.decode` of all ids.

    Example:
        >>> tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [])
        >>> decoder = StreamDecoder(tokenizer)
        >>> [decoder.push(token_id) for token_id in "né".encode()], decoder.finish()
        (['n', '', 'é'], '')
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not isinstance(tokenizer, Tokenizer):
            msg = f"tokenizer must be a Tokenizer, got {tokenizer!r:.80}"
            raise TypeError(msg)
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that became certain with this id; empty in the middle of a character.

        Raises:
            ValueError: If the tokenizer has no such id.
        """
        return self._decoder.decode(self._tokenizer.decode_bytes([token_id]))

    def finish(self) -> str:
        """What is left: U+FFFD if the ids ended inside a character. Then a new stream may begin."""
        return self._decoder.decode(b"", final=True)
