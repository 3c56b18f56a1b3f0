"""From the scores of one position to the next token."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .functional import at_least_float32, softmax
from .sampling import Sampling


def next_token_probabilities(
    logits: Float[Tensor, "*rows vocab"],
    sampling: Sampling,
    seen: Bool[Tensor, "*rows vocab"] | None = None,
) -> Float[Tensor, "*rows vocab"]:
    """Turn scores into the distribution to draw from, in float32 at least.

    Of equally likely tokens the lower id comes first.

    Args:
        logits: One finite score per token.
        sampling: What to do with them.
        seen: True for the tokens that the text already has; None: it has none.

    Raises:
        ValueError: If `top_k` is more than the vocabulary.

    Example:
        >>> next_token_probabilities(torch.tensor([0.5, 0.3, 0.2]).log(), Sampling(top_p=0.7))
        tensor([0.6250, 0.3750, 0.0000])
    """
    sampling.check_vocabulary(logits.shape[-1])
    logits = _penalized(at_least_float32(logits), sampling, seen)
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1)
    # With the maximum at 0 no temperature overflows: the others go to -inf at worst. Below the smallest
    # normal number a temperature would be rounded to 0, and 0 / 0 is NaN; there the result is greedy already.
    temperature = max(sampling.temperature, torch.finfo(logits.dtype).tiny)
    probabilities = softmax((logits - logits.amax(-1, keepdim=True)) / temperature, dim=-1)
    if sampling.top_k is not None or sampling.top_p < 1:
        ordered = _descending(probabilities)[..., : sampling.top_k]
        reached = ordered.cumsum(-1)
        # A token stays if those before it have not reached top_p of what top_k has left.
        stays = reached - ordered < sampling.top_p * reached[..., -1:]
        probabilities = _most_likely(probabilities, ordered, stays.sum(-1, keepdim=True).clamp(min=1))
    if sampling.min_p > 0:
        greatest = probabilities.amax(-1, keepdim=True)
        probabilities = probabilities.where(probabilities >= sampling.min_p * greatest, 0)
    return probabilities / probabilities.sum(-1, keepdim=True)


def _descending(probabilities: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows vocab"]:
    """Sort each row, the greatest first."""
    if probabilities.device.type == "cpu":
        # By NumPy, whose sort uses the vector instructions of the machine: 25 times as fast as torch's.
        return torch.from_numpy(np.sort(probabilities.detach().numpy())).flip(-1)
    return probabilities.sort(dim=-1, descending=True).values


def _most_likely(
    probabilities: Float[Tensor, "*rows vocab"],
    ordered: Float[Tensor, "*rows sorted"],
    num_kept: Int[Tensor, "*rows 1"],
) -> Float[Tensor, "*rows vocab"]:
    """Keep so many of each row's most likely tokens, of equally likely ones those of the lower ids."""
    least = ordered.gather(-1, num_kept - 1)
    kept = probabilities >= least
    if (num_over := kept.sum(-1, keepdim=True) - num_kept).any():
        equal = probabilities == least
        from_the_end = equal.flip(-1).cumsum(-1).flip(-1)
        kept &= ~equal | (from_the_end > num_over)
    return probabilities.where(kept, 0)


def draw_tokens(
    logits: Float[Tensor, "rows vocab"],
    sampling: Sampling,
    uniforms: Sequence[float],
    seen: Bool[Tensor, "rows vocab"] | None = None,
) -> Int[Tensor, " rows"]:
    """Take one token per row: the first at which the summed probabilities exceed a number from [0, 1).

    That leaves the randomness to the caller and needs one number per token on any device, so a row's token
    hangs on its own scores and number alone.

    Args:
        logits: One score per token.
        sampling: What to do with them; with a temperature of 0 the numbers are not used.
        uniforms: One number per row, uniform in [0, 1).
        seen: True for the tokens that a row's text already has.

    Returns:
        The ids; -1 for a row whose scores have no finite greatest, which NaN anywhere in it makes so.

    Raises:
        ValueError: If `top_k` is more than the vocabulary, or there is not a number for each row.

    Example:
        >>> logits = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]).log()
        >>> draw_tokens(logits, Sampling(), uniforms=[0.4, 0.6])
        tensor([0, 1])
    """
    if len(uniforms) != len(logits):
        msg = f"there must be a number for each row, got {len(uniforms)} for {len(logits)}"
        raise ValueError(msg)
    if sampling.temperature == 0:
        penalized = _penalized(logits, sampling, seen)
        greatest, ids = penalized.max(-1)
    else:
        greatest = logits.amax(-1)
        reached = next_token_probabilities(logits, sampling, seen).cumsum(-1)
        total = reached[:, -1:]
        # Rounding may take a number just below 1 to all of the sum, which no token exceeds.
        below_total = total.nextafter(torch.zeros_like(total))
        numbers = torch.tensor(uniforms, dtype=total.dtype, device=total.device).unsqueeze(-1)
        ids = torch.searchsorted(reached, (numbers * total).minimum(below_total), right=True).squeeze(-1)
    return ids.where(greatest.isfinite(), -1)


def _penalized(
    logits: Float[Tensor, "*rows vocab"], sampling: Sampling, seen: Bool[Tensor, "*rows vocab"] | None
) -> Float[Tensor, "*rows vocab"]:
    """Apply the repetition penalty."""
    penalty = sampling.repetition_penalty
    if seen is None or penalty == 1:
        return logits
    return logits.where(~seen, torch.where(logits < 0, logits * penalty, logits / penalty))
