"""Text from a model as it comes, up to a stop string."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from .generation import Generation
from .sampling import PLAIN, Sampling
from .stop_strings import StopStrings
from .transformer import TransformerLM


@runtime_checkable
class IdDecoder(Protocol):
    """Turns the ids of one text into its characters, such as `hornbook.bpe.StreamDecoder`."""

    def push(self, token_id: int, /) -> str:
        """Return the characters that became certain with this id; "" in the middle of one."""

    def finish(self) -> str:
        """Return what is left when the ids have ended."""


class _Text:
    """One text on its way from ids to what may be shown."""

    def __init__(self, decoder: IdDecoder, stop_strings: Sequence[str]) -> None:
        self._decoder = decoder
        self._filter = StopStrings(stop_strings)
        self.is_over = False

    def push(self, token_id: int) -> str:
        piece = self._filter.push(self._decoder.push(token_id))
        self.is_over = self._filter.stopped
        return piece

    def finish(self) -> str:
        self.is_over = True
        return self._filter.push(self._decoder.finish()) + self._filter.finish()


def stream_text(
    model: TransformerLM,
    prompts: Sequence[Sequence[int]],
    decoder: Callable[[], IdDecoder],
    *,
    max_tokens: int,
    sampling: Sampling = PLAIN,
    stop_ids: Sequence[int] = (),
    stop_strings: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> Iterator[list[str | None]]:
    """Yield what a model adds to several prompts, a step at a time: a piece of each text, None after its end.

    A stop string ends a text just before it, wherever the borders of its tokens are, and what may become one
    is not shown. It counts in the new text alone. Everything else is as for `Generation`.

    Args:
        model: What to draw from.
        prompts: At least one; at least one id each, any length.
        decoder: Makes what turns ids into text, one for each prompt.
        max_tokens: Most ids for each.
        sampling: How to draw.
        stop_ids: Each ends a text and is not part of it.
        stop_strings: Likewise; none of them empty.
        seeds: Of the random numbers, one for each prompt; None draws them from torch's global generator.

    Raises:
        TypeError: As `Generation` and `StopStrings`.
        ValueError: Likewise.

    Example:
        >>> from hornbook.nn import TransformerConfig
        >>> class Letters:
        ...     def push(self, token_id: int) -> str:
        ...         return chr(ord("a") + token_id)
        ...     def finish(self) -> str:
        ...         return ""
        >>> config = TransformerConfig(
        ...     vocab_size=26, context_length=16, num_layers=1, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> model = TransformerLM(config)
        >>> steps = stream_text(model, [[1, 2, 3], [4]], Letters, max_tokens=5, stop_strings=["e"])
        >>> texts = ["".join(filter(None, pieces)) for pieces in zip(*steps)]
        >>> any("e" in text for text in texts)
        False
    """
    steps = Generation(
        model, prompts, max_tokens=max_tokens, sampling=sampling, stop_ids=stop_ids, seeds=seeds
    )
    return _pieces(steps, [_Text(decoder(), stop_strings) for _ in prompts])


def _pieces(steps: Generation, texts: Sequence[_Text]) -> Iterator[list[str | None]]:
    for step in steps:
        pieces: list[str | None] = []
        for prompt, (text, token_id) in enumerate(zip(texts, step, strict=True)):
            if text.is_over:
                pieces.append(None)
            elif token_id is None:
                pieces.append(text.finish())
            else:
                pieces.append(text.push(token_id))
                if text.is_over:
                    steps.end(prompt)
        yield pieces
    if not all(text.is_over for text in texts):
        yield [None if text.is_over else text.finish() for text in texts]
