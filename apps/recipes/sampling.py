"""Text from a trained model, as it comes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import tyro

from hornbook import nn
from hornbook.accounting import (
    decode_ledger,
    format_bytes,
    format_flops,
    format_seconds,
    kv_cache_bytes,
    num_parameters,
)
from hornbook.bpe import StreamDecoder

from .console import printable, say

if TYPE_CHECKING:
    from .trained import TrainedModel

_TRIED_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How texts are drawn, and where they end."""

    # A factory: a default would be a class variable of the same name.
    sampling: Annotated[nn.Sampling, tyro.conf.arg(name="")] = field(
        default_factory=lambda: nn.Sampling(temperature=0.8, top_p=0.9)
    )
    num_samples: int = 1
    """How many texts of each prompt."""
    max_tokens: int = 256
    """The end, if the model doesn't end before."""
    stop: tuple[str, ...] = ()
    """Texts that end a sample before them, beside <|endoftext|>."""
    seed: int = 0
    """Of the first sample, the next have the next; the same seed gives the same text."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        for name, least in (("num_samples", 1), ("max_tokens", 0), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                msg = f"--{name.replace('_', '-')} must be at least {least}, got {value}"
                raise ValueError(msg)
        if "" in self.stop:
            msg = "--stop must not be empty: it would stop every text at once"
            raise ValueError(msg)


def stream_samples(
    trained: "TrainedModel", prompts: Sequence[str], options: TextOptions
) -> Iterator[tuple[int, str]]:
    """Yield what the model adds to each prompt: (number of the prompt, piece of text), in their order.

    All are drawn at once, each with a seed of its own; what comes before its turn waits.

    Args:
        trained: Model and tokenizer.
        prompts: Where to go on from; an empty one begins a new text.
        options: How to draw.
    """
    steps = nn.stream_text(
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


def say_samples(trained: "TrainedModel", prompts: Sequence[str], options: TextOptions) -> None:
    """Print the prompts and what the model adds to each, piece by piece, a line between two."""
    shown = -1
    for number, piece in stream_samples(trained, prompts, options):
        while shown < number:
            shown += 1
            say(("\n---\n" if shown else "") + prompts[shown], end="")
        say(printable(piece), end="")
    say()


def describe_samples(trained: "TrainedModel", prompts: Sequence[str], options: TextOptions) -> None:
    """Print what drawing these texts costs: by formula, and the time by drawing their first few tokens."""
    shape = trained.model.config
    weights = 4 * num_parameters(shape)
    cache = kv_cache_bytes(shape, batch_size=len(prompts))
    say(f"model: {num_parameters(shape):,} parameters, as they were at step {trained.step:,}")
    say(f"memory: {format_bytes(weights)} of weights, at most {format_bytes(cache)} of keys and values")
    say(f"options: {options}")
    a_token = sum(row.flops for row in decode_ledger(shape, cached_tokens=shape.context_length - 1))
    tried = min(_TRIED_TOKENS, options.max_tokens)
    began = time.perf_counter()
    for _ in stream_samples(trained, prompts, replace(options, max_tokens=tried)):
        pass
    seconds = (time.perf_counter() - began) * options.max_tokens / max(1, tried)
    say(f"cost: {len(prompts)} texts of {options.max_tokens:,} tokens, {format_flops(a_token)} a token")
    say(f"time: about {format_seconds(seconds)} if none ends before, as the first {tried} tokens went")
