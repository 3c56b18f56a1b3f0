"""Texts from a model, token by token."""

import operator
import random
from collections.abc import Iterator, Sequence

import torch

from .decoding import Decoder
from .next_token import draw_tokens
from .sampling import PLAIN, Sampling
from .transformer import TransformerLM


class Generation(Iterator[list[int | None]]):
    """What a model adds to several prompts, a step at a time: a new id of each, None where a text has ended.

    Nothing is computed before it is asked for. A text ends without its stop id, and the iteration with the
    last of the texts. The model's mode is neither used nor changed: it has no dropout.

    A text depends on its own prompt, options and seed alone, whatever else is generated beside it. In
    floating point that holds but for rounding, as a matrix product may add in another order for another
    number of rows: a different id comes out only where two were as likely to within rounding, or where the
    random number fell between two so closely. On one device the same call gives the same ids.

    A text may outgrow the context: the model sees the last `context_length` ids of the prompt, then those and
    what follows until `context_length` ids are full, then the newest half of these and what follows, and so
    on, counted from position 0 each time. The repetition penalty goes by the whole text.

    Args:
        model: What to draw from.
        prompts: At least one; at least one id each, any length.
        max_tokens: Most ids for each.
        sampling: How to draw.
        stop_ids: Each ends a text, usually that of <|endoftext|> alone. In a prompt they end nothing.
        seeds: Of the random numbers, one for each prompt, from 0 to 2**63 - 1. None draws seeds from torch's
            global generator, so that `torch.manual_seed` decides.

    Raises:
        TypeError: If an id, a seed or `max_tokens` is not an integer, or another argument of the wrong type.
        ValueError: If the model is on the meta device, there is no prompt, a prompt is empty, an id is not in
            the vocabulary, `max_tokens` is negative, seeds are out of range or not as many as prompts, or
            `top_k` is more than the vocabulary; and by a step, if the model's scores are not finite.

    Example:
        >>> from hornbook.nn import TransformerConfig
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=1, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> for step in Generation(TransformerLM(config), [[1, 2, 3], [4]], max_tokens=20, seeds=[0, 1]):
        ...     assert len(step) == 2
    """

    def __init__(
        self,
        model: TransformerLM,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        sampling: Sampling = PLAIN,
        stop_ids: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
    ) -> None:
        if not isinstance(model, TransformerLM):
            msg = f"model must be a TransformerLM, got a {type(model).__name__}"
            raise TypeError(msg)
        if not isinstance(sampling, Sampling):
            msg = f"sampling must be a Sampling, got {sampling!r} of type {type(sampling).__name__}"
            raise TypeError(msg)
        for name, given in (("prompts", prompts), ("seeds", () if seeds is None else seeds)):
            if not hasattr(given, "__len__"):
                msg = f"{name} must be a list, one entry for each text, got {given!r}"
                raise TypeError(msg)
        if model.lm_head.weight.is_meta:
            msg = "the model is on the meta device and has no values: use to_empty and load_state_dict first"
            raise ValueError(msg)
        vocab_size = model.config.vocab_size
        if len(prompts) == 0:
            msg = "there is no prompt: give at least one"
            raise ValueError(msg)
        self._model = model
        self._prompts = [_checked_ids("prompt", prompt, vocab_size) for prompt in prompts]
        if not all(self._prompts):
            msg = "a prompt is empty: give at least one id, for instance that of <|endoftext|>"
            raise ValueError(msg)
        self._stop_ids = set(_checked_ids("stop", stop_ids, vocab_size))
        self._left = _integer("max_tokens", max_tokens)
        if self._left < 0:
            msg = f"max_tokens must be at least 0, got {max_tokens}"
            raise ValueError(msg)
        sampling.check_vocabulary(vocab_size)
        self._sampling = sampling
        # Python's own generator: a number takes 50 ns, and its sequence is promised to stay as it is.
        self._random = [random.Random(seed) for seed in self._checked_seeds(seeds)]
        self._going = list(
            range(len(prompts))
        )  # prompts whose texts have not ended; the rows of what follows
        self._ended: set[int] = set()
        self._decoder: Decoder | None = None
        self._seen: torch.Tensor | None = None

    def __next__(self) -> list[int | None]:
        """Draw the next id of each text."""
        self._drop_ended()
        if self._left == 0 or not self._going:
            raise StopIteration
        drawn = self._draw()
        step: list[int | None] = [None] * len(self._prompts)
        for prompt, token_id in zip(self._going, drawn, strict=True):
            if token_id in self._stop_ids:
                self.end(prompt)
            else:
                step[prompt] = token_id
        self._left -= 1
        if all(token_id is None for token_id in step):
            raise StopIteration
        return step

    def end(self, prompt: int) -> None:
        """End a text here: no more is drawn for it.

        Args:
            prompt: Number of its prompt, from 0.

        Raises:
            ValueError: If there is no such prompt.
        """
        if not 0 <= prompt < len(self._prompts):
            msg = f"there is no prompt {prompt}: they are numbered from 0 to {len(self._prompts) - 1}"
            raise ValueError(msg)
        self._ended.add(prompt)

    # Around the computation alone: a generator that yields inside such a block would leave gradients switched
    # off for whoever consumes it.
    @torch.inference_mode()
    def _draw(self) -> list[int]:
        if self._decoder is None:
            self._decoder = Decoder(self._model, self._prompts, self._left)
            if self._sampling.repetition_penalty != 1:
                self._seen = self._seen_in_prompts()
        uniforms = [self._random[prompt].random() for prompt in self._going]
        ids = draw_tokens(self._decoder.logits(), self._sampling, uniforms, self._seen)
        if self._seen is not None:
            self._seen.scatter_(1, ids.clamp(min=0).unsqueeze(-1), True)
        drawn: list[int] = ids.tolist()  # the one place where Python waits for the device
        if -1 in drawn:
            prompt = self._going[drawn.index(-1)]
            msg = (
                f"the model gave scores that are not finite for prompt {prompt}: look for NaN in its weights"
            )
            raise ValueError(msg)
        self._decoder.append(drawn)
        return drawn

    def _checked_seeds(self, seeds: Sequence[int] | None) -> list[int]:
        num_prompts = len(self._prompts)
        if seeds is None:
            if self._sampling.temperature == 0:  # nothing will be drawn: torch's generator is left alone
                return [0] * num_prompts
            drawn: list[int] = torch.randint(2**63 - 1, (num_prompts,)).tolist()
            return drawn
        if len(seeds) != num_prompts:
            msg = f"there must be a seed for each prompt, got {len(seeds)} for {num_prompts}"
            raise ValueError(msg)
        checked = [_integer("a seed", seed) for seed in seeds]
        for seed in checked:
            if not 0 <= seed < 2**63:
                msg = f"a seed must be from 0 to 2**63 - 1, got {seed}"
                raise ValueError(msg)
        return checked

    def _seen_in_prompts(self) -> torch.Tensor:
        seen = torch.zeros(len(self._prompts), self._model.config.vocab_size, dtype=torch.bool)
        for row, prompt in enumerate(self._prompts):
            seen[row, prompt] = True
        return seen.to(self._model.lm_head.weight.device)

    @torch.inference_mode()
    def _drop_ended(self) -> None:
        """Compute nothing more for texts that have ended."""
        rows = [row for row, prompt in enumerate(self._going) if prompt not in self._ended]
        if len(rows) < len(self._going):
            self._going = [self._going[row] for row in rows]
            if self._decoder is not None and rows:
                self._decoder.keep(rows)
                self._seen = None if self._seen is None else self._seen[rows]
        self._ended.clear()


def generate(
    model: TransformerLM,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling = PLAIN,
    stop_ids: Sequence[int] = (),
    seed: int | None = None,
) -> list[int]:
    """Continue a prompt and return the new ids.

    The prompt is not repeated, and the stop id is not part of the result: a result shorter than `max_tokens`
    ended with one. Details are those of `Generation`.

    Args:
        model: What to draw from.
        prompt_ids: At least one id; any length.
        max_tokens: Most ids to return.
        sampling: How to draw.
        stop_ids: Each ends the text.
        seed: Of the random numbers; None draws it from torch's global generator.

    Raises:
        TypeError: As `Generation`.
        ValueError: As `Generation`.

    Example:
        >>> from hornbook.nn import TransformerConfig
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=1, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> model = TransformerLM(config)
        >>> len(generate(model, [1, 2, 3], max_tokens=20, sampling=Sampling(top_p=0.9), seed=0))
        20
    """
    (ids,) = generate_batch(
        model,
        [prompt_ids],
        max_tokens=max_tokens,
        sampling=sampling,
        stop_ids=stop_ids,
        seeds=None if seed is None else [seed],
    )
    return ids


def generate_batch(
    model: TransformerLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: Sampling = PLAIN,
    stop_ids: Sequence[int] = (),
    seeds: Sequence[int] | None = None,
) -> list[list[int]]:
    """Continue several prompts at once, of any lengths, and return the new ids of each.

    Arguments and errors are those of `Generation`.

    Args:
        model: What to draw from.
        prompts: At least one; at least one id each.
        max_tokens: Most ids for each.
        sampling: How to draw.
        stop_ids: Each ends a text.
        seeds: Of the random numbers, one for each prompt; None draws them from torch's global generator.

    Raises:
        TypeError: As `Generation`.
        ValueError: As `Generation`.

    Example:
        >>> from hornbook.nn import TransformerConfig
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=1, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> model = TransformerLM(config)
        >>> [len(ids) for ids in generate_batch(model, [[1, 2, 3], [4]], max_tokens=5)]
        [5, 5]
    """
    steps = Generation(
        model, prompts, max_tokens=max_tokens, sampling=sampling, stop_ids=stop_ids, seeds=seeds
    )
    texts: list[list[int]] = [[] for _ in prompts]
    for step in steps:
        for text, token_id in zip(texts, step, strict=True):
            if token_id is not None:
                text.append(token_id)
    return texts


def _integer(name: str, value: object) -> int:
    """Return a Python int for any integer, numpy's too; True is none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        msg = f"{name} must be an integer, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg) from None


def _checked_ids(name: str, ids: Sequence[int], vocab_size: int) -> list[int]:
    if not hasattr(ids, "__iter__"):
        msg = f"{name} ids must be a list of integers, got {ids!r} of type {type(ids).__name__}"
        raise TypeError(msg)
    checked = [_integer(f"{name} id", token_id) for token_id in ids]
    for token_id in checked:
        if not 0 <= token_id < vocab_size:
            msg = f"{name} id {token_id} is not in the vocabulary of {vocab_size} tokens"
            raise ValueError(msg)
    return checked
