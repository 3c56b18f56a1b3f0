"""Loss on held-out tokens, in the units people compare: nats a token, perplexity, bits a byte."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batches import check_window, gather_windows
from .distributed import World

Loss = Callable[[Tensor, Tensor], Tensor]  # (inputs, targets) -> mean nats a token, 0-d

_ALONE = World()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What a model makes of held-out text."""

    loss: float  # nats a token
    bits_per_byte: float  # the whole cost in bits over the bytes of text that the targets stand for
    num_tokens: int  # targets predicted
    num_windows: int
    num_windows_in_all: int

    @property
    def perplexity(self) -> float:
        """exp(loss): how many equally likely tokens would be as surprising; infinite past e**709."""
        return math.exp(self.loss) if self.loss < 709 else math.inf


def evaluate(
    loss: Loss,
    dataset: NDArray[Any],
    *,
    batch_size: int,
    context_length: int,
    token_num_bytes: NDArray[np.int64],
    device: str | torch.device = "cpu",
    max_windows: int | None = None,
    world: World = _ALONE,
) -> Evaluation:
    """Predict every token of the dataset but the first, once, in windows that don't overlap.

    A window begins without memory of the one before. The last one may be shorter. The cost of special
    tokens counts, but they stand for no bytes of text: bits_per_byte = sum of -log2 p over the bytes of
    ordinary tokens, so models with different vocabularies compare.

    Args:
        loss: Mean nats a token of (inputs, targets).
        dataset: Token ids, one axis.
        batch_size: Windows at a time; does not change the result beyond rounding.
        context_length: Tokens a window.
        token_num_bytes: Bytes of text that each id stands for; 0 for special tokens.
        device: Where the loss wants its tokens.
        max_windows: Use only so many windows, evenly spread and always the same ones; all if not given.
        world: Its processes share the windows, and all get the result for the whole. The loss is called as
            often in each, since under FSDP each call is one of all together.

    Raises:
        ValueError: If the dataset is shorter than a window, or a size is not positive.

    Example:
        >>> def uniform(inputs, targets):
        ...     return torch.tensor(math.log(4))
        >>> ids = np.array([0, 1, 2, 3, 0, 1])
        >>> one_byte_each = np.array([1, 1, 1, 1])
        >>> result = evaluate(uniform, ids, batch_size=2, context_length=2, token_num_bytes=one_byte_each)
        >>> result.num_tokens, round(result.bits_per_byte, 6), round(result.perplexity, 6)
        (5, 2.0, 4.0)
    """
    check_window(len(dataset), batch_size=batch_size, context_length=context_length)
    if max_windows is not None and max_windows < 1:
        msg = f"max_windows must be at least 1, got {max_windows}"
        raise ValueError(msg)
    num_targets = len(dataset) - 1
    num_full, tail = divmod(num_targets, context_length)
    num_in_all = num_full + (tail > 0)
    whole = max_windows is None or max_windows >= num_in_all
    chosen = np.arange(num_full) if whole else _evenly_spread(num_full, max_windows or 0)
    pieces = [
        (chosen[first : first + batch_size] * context_length, context_length)
        for first in range(0, len(chosen), batch_size)
    ]
    if whole and tail:
        pieces.append((np.array([num_full * context_length]), tail))
    sums = np.zeros(4)  # nats, tokens, bytes, windows
    with torch.no_grad():
        for first in range(0, len(pieces), world.size):
            index = first + world.rank
            # One that has no piece left does the first again, and doesn't count it.
            starts, length = pieces[index if index < len(pieces) else 0]
            inputs, targets = gather_windows(dataset, starts, length, device)
            mean_nats = float(loss(inputs, targets))
            if index < len(pieces):
                num_bytes = token_num_bytes[targets.cpu().numpy()].sum()
                sums += (mean_nats * targets.numel(), targets.numel(), num_bytes, len(starts))
    nats, num_tokens, num_bytes, num_windows = world.gather(torch.from_numpy(sums)).sum(0).tolist()
    return Evaluation(
        loss=nats / num_tokens,
        bits_per_byte=nats / math.log(2) / num_bytes if num_bytes else math.inf,
        num_tokens=int(num_tokens),
        num_windows=int(num_windows),
        num_windows_in_all=num_in_all,
    )


def _evenly_spread(total: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` of the numbers below `total`, spread evenly, the first one always among them."""
    return np.arange(min(wanted, total), dtype=np.int64) * total // min(wanted, total)
