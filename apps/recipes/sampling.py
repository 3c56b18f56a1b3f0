"""Text from a trained model, as it comes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hornbook.bpe import StreamDecoder
from hornbook.nn import generate_iter

from .trained import TrainedModel


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    max_tokens: int = 256
    """The end, if the model doesn't end before."""
    temperature: float = 0.8
    """Below 1 keeps to what is likely; 0 takes the likeliest token each time."""
    top_p: float = 0.9
    """Draw from the smallest set of tokens whose probability reaches this."""
    seed: int = 0
    """The same seed gives the same text."""

    def __post_init__(self) -> None:
        """Refuse a seed that torch can't take; the rest is checked where it is used."""
        if not 0 <= self.seed < 2**63:
            msg = f"seed must be 0 to 2**63 - 1, got {self.seed}"
            raise ValueError(msg)


def stream_text(trained: TrainedModel, prompt: str, sampling: Sampling, *, seed: int) -> Iterator[str]:
    """Yield what the model adds to the prompt, piece by piece, whole characters only.

    Args:
        trained: Model and tokenizer.
        prompt: Where to go on from; an empty one begins a new text.
        sampling: How to draw; its own seed is not used.
        seed: Of this text.
    """
    device = next(trained.model.parameters()).device
    decoder = StreamDecoder(trained.tokenizer)
    # A text begins where the one before has ended.
    prompt_ids = [trained.stop_id, *trained.tokenizer.encode(prompt)]
    for token_id in generate_iter(
        trained.model,
        prompt_ids,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop_id=trained.stop_id,
        generator=torch.Generator(device).manual_seed(seed),
    ):
        yield decoder.push(token_id)
    yield decoder.finish()
