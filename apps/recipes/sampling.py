"""Text from a trained model, as it comes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import tyro

from hornbook.bpe import StreamDecoder
from hornbook.nn import Sampling, stream_text

from .trained import TrainedModel


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How texts are drawn, and where they end."""

    # A factory: a default would be a class variable of the same name.
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Sampling(temperature=0.8, top_p=0.9)
    )
    max_tokens: int = 256
    """The end, if the model doesn't end before."""
    stop: tuple[str, ...] = ()
    """Texts that end a sample before them, beside <|endoftext|>."""
    seed: int = 0
    """Of the first sample, the next have the next; the same seed gives the same text."""


def stream_samples(
    trained: TrainedModel, prompts: Sequence[str], options: TextOptions
) -> Iterator[tuple[int, str]]:
    """Yield what the model adds to each prompt: (number of the prompt, piece of text), in their order.

    All are drawn at once, each with a seed of its own; what comes before its turn waits.

    Args:
        trained: Model and tokenizer.
        prompts: Where to go on from; an empty one begins a new text.
        options: How to draw.
    """
    steps = stream_text(
        trained.model,
        # A text begins where the one before has ended.
        [[trained.stop_id, *trained.tokenizer.encode(prompt)] for prompt in prompts],
        partial(StreamDecoder, trained.tokenizer),
        max_tokens=options.max_tokens,
        sampling=options.sampling,
        stop_ids=[trained.stop_id],
        stop_strings=options.stop,
        seeds=[options.seed + number for number in range(len(prompts))],
    )
    turn, waiting = 0, [""] * len(prompts)
    for pieces in steps:
        waiting = [text + (piece or "") for text, piece in zip(waiting, pieces, strict=True)]
        while turn < len(prompts):
            yield turn, waiting[turn]
            waiting[turn] = ""
            if pieces[turn] is not None:
                break
            turn += 1
    yield from enumerate(waiting[turn:], start=turn)
