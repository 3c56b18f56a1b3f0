"""From the scores of one position to the next token."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .functional import softmax


def check_sampling(temperature: float, top_p: float) -> None:
    """Refuse what is not a temperature or not a probability to keep."""
    if not (math.isfinite(temperature) and temperature >= 0):
        msg = f"temperature must be finite and at least 0 (0 takes the most likely token), got {temperature}"
        raise ValueError(msg)
    if not 0 < top_p <= 1:
        msg = f"top_p must be above 0 and at most 1 (1 keeps every token), got {top_p}"
        raise ValueError(msg)


def next_token_probabilities(
    logits: Float[Tensor, " vocab"], *, temperature: float = 1.0, top_p: float = 1.0
) -> Float[Tensor, " vocab"]:
    """Turn scores into the distribution to sample from, in float32.

    softmax(logits / temperature), of which top-p keeps the most likely tokens: the smallest set whose
    probability reaches `top_p` (nucleus sampling, Holtzman et al., 2019). Of equally likely tokens the lower
    id comes first.

    Args:
        logits: One score per token.
        temperature: Below 1 sharpens, above 1 flattens; 0 puts all on the highest score.
        top_p: Probability to keep.

    Raises:
        ValueError: If `temperature` is negative or not finite, or `top_p` is not in (0, 1].

    Example:
        >>> next_token_probabilities(torch.tensor([0.5, 0.3, 0.2]).log(), top_p=0.7)
        tensor([0.6250, 0.3750, 0.0000])
    """
    check_sampling(temperature, top_p)
    logits = logits.float()
    if temperature == 0:
        greedy = torch.zeros_like(logits)
        greedy[logits.argmax()] = 1
        return greedy
    # With the maximum at 0 no temperature overflows: the others go to -inf at worst. Below float32's smallest
    # normal number a temperature would be rounded to 0, and 0 / 0 is NaN; there the result is greedy already.
    temperature = max(temperature, torch.finfo(torch.float32).tiny)
    probabilities = softmax((logits - logits.max()) / temperature, dim=-1)
    if top_p < 1:
        ordered, ids = probabilities.sort(descending=True, stable=True)
        reached_before = ordered.cumsum(-1) - ordered
        probabilities[ids[reached_before >= top_p]] = 0
        probabilities /= probabilities.sum()
    return probabilities


def sample_token(
    logits: Float[Tensor, " vocab"],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> int:
    """Draw a token id from `next_token_probabilities`.

    Args:
        logits: One score per token.
        temperature: See `next_token_probabilities`; at 0 nothing is drawn from the generator.
        top_p: See `next_token_probabilities`.
        generator: On the device of `logits`; None is torch's global one.

    Raises:
        ValueError: If `temperature` is negative or not finite, or `top_p` is not in (0, 1].

    Example:
        >>> sample_token(torch.tensor([0.1, 2.0, 0.3]), temperature=0.0)
        1
    """
    check_sampling(temperature, top_p)
    if temperature == 0:
        return int(logits.argmax())
    probabilities = next_token_probabilities(logits, temperature=temperature, top_p=top_p)
    return int(torch.multinomial(probabilities, 1, generator=generator))
