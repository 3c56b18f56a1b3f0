from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.trainer import WindowBatches, epoch_windows, get_batch, random_windows


@settings(deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(0, 40), st.integers(0, 2**64 - 1), st.integers(0, 10**9)
)
def test_targets_are_the_tokens_one_later_and_every_window_lies_in_the_data(
    batch_size: int, context_length: int, more: int, seed: int, step: int
) -> None:
    data = np.arange(context_length + 1 + more, dtype=np.uint16)
    batches = random_windows(
        data, batch_size=batch_size, context_length=context_length, device="cpu", seed=seed
    )
    inputs, targets = batches(step)
    assert inputs.shape == targets.shape == (batch_size, context_length)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert inputs.min() >= 0
    assert targets.max() < len(data)
    again = batches(step)
    assert torch.equal(inputs, again[0])


def test_every_start_is_drawn_equally_often_the_last_one_too() -> None:
    # 8 valid starts, 8,000 draws: each count has mean 1,000 and standard deviation 30.
    generator = np.random.default_rng(5)
    inputs, _ = get_batch(np.arange(12), 8_000, 4, generator=generator)
    counts = np.bincount(inputs[:, 0].numpy())
    assert len(counts) == 8
    assert abs(counts - 1_000).max() < 150


def test_seeds_and_steps_give_different_batches() -> None:
    data = np.arange(10_000)
    drawn = {
        tuple(
            random_windows(data, batch_size=4, context_length=2, device="cpu", seed=seed)(step)[0][
                :, 0
            ].tolist()
        )
        for seed in range(10)
        for step in range(10)
    }
    assert len(drawn) == 100


def test_data_shorter_than_a_window_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="context_length=8 needs 9 tokens, the data has 8"):
        random_windows(np.arange(8), batch_size=1, context_length=8, device="cpu", seed=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        get_batch(np.arange(9), 0, 8)
    with pytest.raises(ValueError, match="seed must be 0 to"):
        random_windows(np.arange(9), batch_size=1, context_length=8, device="cpu", seed=-1)


@settings(deadline=None)
@given(
    st.integers(1, 7), st.integers(1, 5), st.integers(1, 60), st.integers(0, 2**64 - 1), st.integers(0, 10**6)
)
def test_every_window_comes_exactly_once_an_epoch(
    batch_size: int, context_length: int, more: int, seed: int, epoch: int
) -> None:
    data = np.arange(context_length + more)
    batches = epoch_windows(
        data, batch_size=batch_size, context_length=context_length, device="cpu", seed=seed
    )
    num_windows = (len(data) - 1) // context_length
    first = epoch * num_windows  # place of the epoch's first window among all of the run
    steps = range(first // batch_size + 1, (first + num_windows - 1) // batch_size + 2)
    starts = np.concatenate([batches.starts(step) for step in steps])
    skipped = first - (steps[0] - 1) * batch_size
    own = starts[skipped : skipped + num_windows]
    assert sorted(own.tolist()) == [window * context_length for window in range(num_windows)]


def test_epochs_have_different_orders() -> None:
    batches = epoch_windows(np.arange(65), batch_size=8, context_length=4, device="cpu", seed=0)
    orders = {tuple(np.concatenate([batches.starts(s), batches.starts(s + 1)])) for s in (1, 3, 5, 7)}
    assert len(orders) == 4


@pytest.mark.parametrize("windows", [random_windows, epoch_windows])
@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 10**12))
def test_processes_share_the_windows_of_a_step_whatever_their_number(
    windows: Callable[..., WindowBatches], world_size: int, each: int, step: int
) -> None:
    data = np.arange(1000)
    sizes = {"batch_size": world_size * each, "context_length": 3, "device": "cpu", "seed": 5}
    alone, _ = windows(data, **sizes)(step)
    shared = [windows(data, **sizes, rank=rank, world_size=world_size)(step)[0] for rank in range(world_size)]
    assert torch.equal(alone, torch.cat(shared))


def test_processes_that_cannot_share_a_step_are_refused() -> None:
    sizes = {"context_length": 3, "device": "cpu", "seed": 5}
    with pytest.raises(ValueError, match="must be a multiple of the number of processes, got 3 and 2"):
        random_windows(np.arange(99), batch_size=3, world_size=2, **sizes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rank must be 0 to world_size - 1, got 2 of 2"):
        epoch_windows(np.arange(99), batch_size=4, rank=2, world_size=2, **sizes)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_the_gpu_is_the_batch_on_the_cpu() -> None:
    there, here = (
        random_windows(np.arange(99), batch_size=3, context_length=4, device=device, seed=1)(2)
        for device in ("cuda", "cpu")
    )
    assert torch.equal(there[0].cpu(), here[0])
    assert torch.equal(there[1].cpu(), here[1])
