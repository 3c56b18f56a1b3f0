"""Batches of windows: inputs, and the same tokens one place later as targets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .permutation import permuted

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


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowBatches:
    """The batches of a run as a pure function of the step; made by `random_windows` or `epoch_windows`.

    There is no sampler state to save: step 1,000 gives the same batch in a run that was never stopped and in
    one resumed there. Many processes share a step: rank r of W takes the r-th part of its windows, so what a
    step is made of does not depend on how many there are.
    """

    dataset: NDArray[Any]
    context_length: int
    device: str | torch.device
    starts_of_all: Callable[[int], NDArray[np.int64]]
    """Places of the windows of a step, of all processes."""
    rank: int
    world_size: int

    def __call__(self, step: int) -> Batch:
        """Return this process's windows of a step: inputs and targets."""
        return gather_windows(self.dataset, self.starts(step), self.context_length, self.device)

    def starts(self, step: int) -> NDArray[np.int64]:
        """Return where this process's windows of a step begin in the dataset."""
        starts = self.starts_of_all(step)
        share = len(starts) // self.world_size
        return starts[self.rank * share : (self.rank + 1) * share]


def random_windows(
    dataset: NDArray[Any],
    *,
    batch_size: int,
    context_length: int,
    device: str | torch.device,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
) -> WindowBatches:
    """Draw the windows of each step anew, each starting anywhere with equal chance.

    Each step has its own key of a counter-based generator (Philox; Salmon et al., 2011): (seed, step).

    Args:
        dataset: Token ids, one axis.
        batch_size: Windows a step, of all processes together.
        context_length: Tokens a window.
        device: Where the batches are needed.
        seed: Of the whole run; 0 to 2**64 - 1.
        rank: Of this process.
        world_size: Number of processes; divides `batch_size`.

    Raises:
        ValueError: As for `get_batch`, or if the processes can't share a step. At once, not at a step.

    Example:
        >>> batches = random_windows(np.arange(100), batch_size=2, context_length=4, device="cpu", seed=7)
        >>> torch.equal(batches(5)[0], batches(5)[0]), torch.equal(batches(5)[0], batches(6)[0])
        (True, False)
    """
    check_window(len(dataset), batch_size=batch_size, context_length=context_length)
    _check_shared(seed, batch_size, rank, world_size)

    def starts(step: int) -> NDArray[np.int64]:
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, step], np.uint64)))
        return generator.integers(0, len(dataset) - context_length, size=batch_size)

    return WindowBatches(
        dataset=dataset,
        context_length=context_length,
        device=device,
        starts_of_all=starts,
        rank=rank,
        world_size=world_size,
    )


def epoch_windows(
    dataset: NDArray[Any],
    *,
    batch_size: int,
    context_length: int,
    device: str | torch.device,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
) -> WindowBatches:
    """Go through the dataset in windows that don't overlap, each exactly once an epoch, in a random order.

    Window w is the tokens from w * context_length on, with one more as its last target; what is left at the
    end is too short for a window. The order of each epoch is another permutation, computed where it is needed
    (see `permuted`), so it takes no memory and a resumed run skips nothing and repeats nothing. A batch goes
    on into the next epoch.

    Args:
        dataset: Token ids, one axis.
        batch_size: Windows a step, of all processes together; so on as for `random_windows`.
        context_length: Tokens a window.
        device: Where the batches are needed.
        seed: Of the whole run.
        rank: Of this process.
        world_size: Number of processes; divides `batch_size`.

    Raises:
        ValueError: As for `random_windows`.

    Example:
        >>> batches = epoch_windows(np.arange(17), batch_size=2, context_length=4, device="cpu", seed=7)
        >>> first_epoch = [batches(step)[0][:, 0].tolist() for step in (1, 2)]
        >>> sorted(sum(first_epoch, []))
        [0, 4, 8, 12]
    """
    check_window(len(dataset), batch_size=batch_size, context_length=context_length)
    _check_shared(seed, batch_size, rank, world_size)
    num_windows = (len(dataset) - 1) // context_length
    seed_key = np.random.SeedSequence(seed).generate_state(1, np.uint64)

    def starts(step: int) -> NDArray[np.int64]:
        places = (step - 1) * batch_size + np.arange(batch_size, dtype=np.uint64)
        epochs, index = np.divmod(places, np.uint64(num_windows))
        key = seed_key + (epochs << np.uint64(8))  # `permuted` adds the number of its round
        return permuted(index, num_windows, key).astype(np.int64) * context_length

    return WindowBatches(
        dataset=dataset,
        context_length=context_length,
        device=device,
        starts_of_all=starts,
        rank=rank,
        world_size=world_size,
    )


def _check_shared(seed: int, batch_size: int, rank: int, world_size: int) -> None:
    if not 0 <= seed < 2**64:
        msg = f"seed must be 0 to 2**64 - 1, got {seed}"
        raise ValueError(msg)
    if world_size < 1 or batch_size % world_size:
        msg = (
            f"batch_size must be a multiple of the number of processes, got {batch_size} and {world_size}: "
            "each takes as many windows of a step"
        )
        raise ValueError(msg)
    if not 0 <= rank < world_size:
        msg = f"rank must be 0 to world_size - 1, got {rank} of {world_size}"
        raise ValueError(msg)


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
        # From pinned memory the copy is queued behind the GPU's work, and this thread need not wait for it.
        # torch's allocator gives the memory away again only when the copy is done.
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
