"""Scores of the next token for several growing texts, each seen through a window of its own."""

from collections.abc import Sequence
from itertools import groupby

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .cache import KVCache
from .transformer import TransformerLM


class Decoder:
    """Texts that grow by a token at a time, and the model's scores of what comes next.

    A text is seen through a window, counted from position 0: its last `context_length` ids at first. The
    window grows with the text until it is full. Then the newest half of it, context_length // 2 ids but at
    least one, becomes the new window and is computed anew, and so on: between two such moments a token costs
    one position, and a text is always seen through at least half a context. (To slide by one at every step
    would be to compute everything anew at every step, as each key has its position in it.)

    When a window is full depends on its own text alone, and so does what the model computes for it, but for
    rounding: a matrix product adds in an order that may depend on the number of rows.

    Args:
        model: What scores.
        prompts: The texts at first, at least one id each.
        num_tokens: Most tokens that any will grow by.
    """

    @torch.inference_mode()
    def __init__(self, model: TransformerLM, prompts: Sequence[Sequence[int]], num_tokens: int) -> None:
        self._model = model
        self._context = model.config.context_length
        self._windows = [list(prompt[-self._context :]) for prompt in prompts]
        columns = self._longest - 1 + num_tokens
        # Columns that slide need room beyond the context, or they would be moved at each step.
        capacity = columns if columns <= self._context else self._context + self._context // 2
        self._cache = self._new_cache(len(prompts), capacity)
        self._cache.extend(self._longest - 1)
        self._prefill(range(len(prompts)))

    @property
    def _longest(self) -> int:
        return max(map(len, self._windows))

    def append(self, token_ids: Sequence[int]) -> None:
        """Add a token to each text.

        Args:
            token_ids: One for each text.
        """
        for window, token_id in zip(self._windows, token_ids, strict=True):
            window.append(token_id)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other texts.

        Args:
            rows: Those that stay, in their new order.
        """
        self._windows = [self._windows[row] for row in rows]
        self._cache.keep(rows)

    @torch.inference_mode()
    def logits(self) -> Float[Tensor, "rows vocab"]:
        """Score the token that comes next in each text; call it once for each token appended."""
        full = [row for row, window in enumerate(self._windows) if len(window) > self._context]
        for row in full:
            self._windows[row] = self._windows[row][-max(1, self._context // 2) :]
        self._cache.forget(self._cache.length - (self._longest - 1))
        self._prefill(full)
        # All but the newest id of each window is in the cache; the newest go through the model together.
        lengths = [len(window) for window in self._windows]
        newest = [window[-1] for window in self._windows]
        token_ids, positions = torch.tensor(
            [newest, [length - 1 for length in lengths]], device=self._device
        ).unsqueeze(-1)
        logits: Float[Tensor, "rows 1 vocab"] = self._model(
            token_ids, positions, mask=self._mask(lengths), cache=self._cache
        )
        return logits[:, 0]

    def _prefill(self, rows: Sequence[int]) -> None:
        """Put all but the newest id of some windows into the cache, those of one length together."""

        def num_ids(row: int) -> int:
            return len(self._windows[row]) - 1

        for length, group in groupby(sorted(rows, key=num_ids), num_ids):
            if length > 0:
                members = list(group)
                fresh = self._new_cache(len(members), length)
                ids = torch.tensor([self._windows[row][:-1] for row in members], device=self._device)
                self._model.hidden(ids, cache=fresh)
                self._cache.replace(members, fresh)

    def _mask(self, lengths: Sequence[int]) -> Bool[Tensor, "rows 1 keys"] | None:
        """Hide the columns to the left of the shorter windows."""
        longest = max(lengths)
        if min(lengths) == longest:
            return None
        first = torch.tensor([longest - length for length in lengths], device=self._device)
        return torch.arange(longest, device=self._device) >= first.view(-1, 1, 1)

    def _new_cache(self, num_rows: int, capacity: int) -> KVCache:
        weight = self._model.lm_head.weight
        return KVCache(self._model.config, num_rows, capacity, device=weight.device, dtype=weight.dtype)

    @property
    def _device(self) -> torch.device:
        return self._model.lm_head.weight.device
