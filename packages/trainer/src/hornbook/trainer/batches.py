"""Batches of windows: inputs, and the same tokens one place later as targets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = tuple[Tensor, Tensor]
Batches = Callable[[int], Batch]  # the batch of a step, whenever and however often it is asked for


def get_batch(
    dataset: NDArray[Any],
    batch_size: int,
    context_length: int,
    device: str | torch.device = "cpu",
    *,
    generator: np.random.Generator | None = None,
) -> Batch:
    """Draw windows of the dataset, each starting anywhere with equal chance.

    Any start 0 <= i < len(dataset) - context_length is valid: the last target is then the last token.

    Args:
        dataset: Token ids, one axis; may be a memory-mapped file.
        batch_size: Number of windows.
        context_length: Tokens a window.
        device: Where the batch is needed.
        generator: Source of the starts; a new, unseeded one if not given.

    Returns:
        Inputs and targets, int64, both of shape (batch_size, context_length).

    Raises:
        ValueError: If the dataset is too short for one window, or a size is not positive.

    Example:
        >>> inputs, targets = get_batch(np.arange(9), batch_size=2, context_length=8)
        >>> inputs.tolist() == [list(range(8))] * 2, targets.tolist() == [list(range(1, 9))] * 2
        (True, True)
    """
    check_window(len(dataset), batch_size=batch_size, context_length=context_length)
    generator = np.random.default_rng() if generator is None else generator
    starts = generator.integers(0, len(dataset) - context_length, size=batch_size)
    return gather_windows(dataset, starts, context_length, device)


def random_windows(
    dataset: NDArray[Any], *, batch_size: int, context_length: int, device: str | torch.device, seed: int
) -> Batches:
    """Return the batches of a run as a pure function of (seed, step).

    There is no sampler state to save: step 1,000 gives the same batch in a run that was never stopped and in
    one resumed there. Each step has its own key of a counter-based generator (Philox; Salmon et al., 2011).

    Args:
        dataset: Token ids, one axis.
        batch_size: Windows a batch.
        context_length: Tokens a window.
        device: Where the batches are needed.
        seed: Of the whole run; 0 to 2**64 - 1.

    Raises:
        ValueError: As for `get_batch`, at once and not at the first step.

    Example:
        >>> batches = random_windows(np.arange(100), batch_size=2, context_length=4, device="cpu", seed=7)
        >>> torch.equal(batches(5)[0], batches(5)[0]), torch.equal(batches(5)[0], batches(6)[0])
        (True, False)
    """
    check_window(len(dataset), batch_size=batch_size, context_length=context_length)
    if not 0 <= seed < 2**64:
        msg = f"seed must be 0 to 2**64 - 1, got {seed}"
        raise ValueError(msg)

    def batch_of(step: int) -> Batch:
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, step], np.uint64)))
        return get_batch(dataset, batch_size, context_length, device, generator=generator)

    return batch_of


def gather_windows(
    dataset: NDArray[Any], starts: NDArray[np.int64], context_length: int, device: str | torch.device = "cpu"
) -> Batch:
    """Copy the windows that begin at `starts` out of the dataset in one indexed read.

    Returns:
        Inputs and targets, int64, both of shape (len(starts), context_length).
    """
    windows = torch.from_numpy(dataset[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    device = torch.device(device)
    if device.type == "cuda":
        # Pinned memory lets the copy run beside the GPU's work instead of waiting for it.
        windows = windows.pin_memory().to(device, non_blocking=True)
    else:
        windows = windows.to(device)
    return windows[:, :-1], windows[:, 1:]


def check_window(num_tokens: int, *, batch_size: int, context_length: int) -> None:
    """Refuse sizes from which no batch can be drawn.

    Raises:
        ValueError: Naming the value and the rule.
    """
    for name, value in (("batch_size", batch_size), ("context_length", context_length)):
        if value < 1:
            msg = f"{name} must be at least 1, got {value}"
            raise ValueError(msg)
    if num_tokens <= context_length:
        msg = (
            f"a window of context_length={context_length} needs {context_length + 1} tokens, "
            f"the data has {num_tokens}: give more text or a shorter context"
        )
        raise ValueError(msg)
