"""Text from a model, token by token."""

import operator
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .sampling import check_sampling, sample_token
from .transformer import TransformerLM


def generate(
    model: TransformerLM,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stop_id: int | None = None,
    generator: torch.Generator | None = None,
) -> list[int]:
    """Continue a prompt and return the new ids.

    The prompt is not repeated, and the stop id is not part of the result: a result shorter than `max_tokens`
    ended with it. The model sees the last `context_length` ids, counted from position 0 each time, so a text
    that outgrows the context goes on while its beginning is forgotten. Every step computes the whole window
    anew. The model's mode is neither used nor changed: it has no dropout.

    Args:
        model: What to sample from.
        prompt_ids: At least one id; any length.
        max_tokens: Most ids to return.
        temperature: Below 1 sharpens, above 1 flattens, 0 always takes the most likely token.
        top_p: Sample among the fewest, most likely tokens whose probability reaches it.
        stop_id: Stop when it is drawn, usually the id of <|endoftext|>.
        generator: Source of randomness, on the model's device; None is torch's global one. The same seed
            gives the same ids.

    Raises:
        TypeError: If an id or `max_tokens` is not an integer.
        ValueError: If the prompt is empty, an id is not in the vocabulary, `max_tokens` is negative,
            `temperature` is negative or not finite, `top_p` is not in (0, 1], or the generator is elsewhere.

    Example:
        >>> from hornbook.nn import TransformerConfig
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=1, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> model = TransformerLM(config)
        >>> len(generate(model, [1, 2, 3], max_tokens=20, generator=torch.Generator().manual_seed(0)))
        20
    """
    return list(
        generate_iter(
            model,
            prompt_ids,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            stop_id=stop_id,
            generator=generator,
        )
    )


def generate_iter(
    model: TransformerLM,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stop_id: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Yield the ids of `generate` as they come; nothing is computed before it is asked for.

    Arguments are as for `generate`, and are checked by the call, not by the first `next`.

    Args:
        model: What to sample from.
        prompt_ids: At least one id; any length.
        max_tokens: Most ids to yield.
        temperature: Below 1 sharpens, above 1 flattens, 0 always takes the most likely token.
        top_p: Sample among the fewest, most likely tokens whose probability reaches it.
        stop_id: Stop when it is drawn.
        generator: Source of randomness, on the model's device; None is torch's global one.

    Raises:
        TypeError: As `generate`.
        ValueError: As `generate`.

    Example:
        >>> from hornbook.nn import TransformerConfig
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=1, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> ids = generate_iter(TransformerLM(config), [1, 2, 3], max_tokens=20)
        >>> 0 <= next(ids) < 100
        True
    """
    ids = [operator.index(token_id) for token_id in prompt_ids]
    vocab_size = model.config.vocab_size
    if not ids:
        msg = "the prompt is empty: give at least one id, for instance that of <|endoftext|>"
        raise ValueError(msg)
    for name, token_id in [("prompt id", i) for i in ids] + (
        [] if stop_id is None else [("stop_id", stop_id)]
    ):
        if not 0 <= operator.index(token_id) < vocab_size:
            msg = f"{name} {token_id} is not in the vocabulary of {vocab_size} tokens"
            raise ValueError(msg)
    if operator.index(max_tokens) < 0:
        msg = f"max_tokens must be at least 0, got {max_tokens}"
        raise ValueError(msg)
    check_sampling(temperature, top_p)
    device = model.lm_head.weight.device
    if generator is not None and generator.device.type != device.type:
        way_out = f"make it with torch.Generator({str(device)!r})"
        msg = f"the generator is on {generator.device} and the model on {device}: {way_out}"
        raise ValueError(msg)

    def continuation() -> Iterator[int]:
        for _ in range(max_tokens):
            logits = _last_logits(model, torch.tensor(ids[-model.config.context_length :], device=device))
            token_id = sample_token(logits, temperature=temperature, top_p=top_p, generator=generator)
            if token_id == stop_id:
                return
            ids.append(token_id)
            yield token_id

    return continuation()


# Around the forward pass alone: a generator that yields inside such a block would leave gradients switched
# off for whoever consumes it.
@torch.inference_mode()
def _last_logits(model: TransformerLM, window: Tensor) -> Float[Tensor, " vocab"]:
    logits: Float[Tensor, "1 seq vocab"] = model(window.unsqueeze(0))
    return logits[0, -1].float()
