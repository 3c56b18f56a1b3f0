import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hornbook.trainer import evaluate


def table_loss(table: Tensor) -> object:
    """Mean nats of a bigram table of log-probabilities."""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return -table[inputs, targets].mean()

    return loss


@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(1, 9), st.integers(1, 7))
def test_it_is_the_mean_over_every_token_but_the_first(
    seed: int, num_tokens: int, context: int, batch: int
) -> None:
    if num_tokens <= context:
        return
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 5, num_tokens)
    table = torch.log_softmax(torch.from_numpy(generator.normal(size=(5, 5))), -1)
    num_bytes = np.array([0, 1, 2, 3, 4])
    # A bigram sees the token before even at the start of a window, so windows can't change its loss.
    nats = -sum(float(table[a, b]) for a, b in pairwise(ids))
    result = evaluate(
        table_loss(table),  # type: ignore[arg-type]
        ids,
        batch_size=batch,
        context_length=context,
        token_num_bytes=num_bytes,
    )
    assert result.num_tokens == num_tokens - 1
    assert result.num_windows == result.num_windows_in_all == math.ceil((num_tokens - 1) / context)
    assert result.loss == pytest.approx(nats / (num_tokens - 1), rel=1e-12)
    text_bytes = int(num_bytes[ids[1:]].sum())
    expected = nats / math.log(2) / text_bytes if text_bytes else math.inf
    assert result.bits_per_byte == pytest.approx(expected, rel=1e-12)


def test_some_windows_are_spread_evenly_and_always_the_same() -> None:
    seen: list[int] = []

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        seen.extend(inputs[:, 0].tolist())
        return torch.tensor(1.0)

    ids = np.arange(101)
    result = evaluate(
        loss, ids, batch_size=2, context_length=10, token_num_bytes=np.ones(101, np.int64), max_windows=4
    )
    assert seen == [0, 20, 50, 70]
    assert (result.num_windows, result.num_windows_in_all, result.num_tokens) == (4, 10, 40)


def test_the_end_of_a_text_costs_nats_and_carries_no_bytes() -> None:
    # Two tokens at log2 each, one of them the special one: 2 bits over the 4 bytes of the other.
    result = evaluate(
        lambda inputs, targets: torch.tensor(math.log(2)),
        np.array([1, 0, 1]),
        batch_size=1,
        context_length=2,
        token_num_bytes=np.array([0, 4]),
    )
    assert result.bits_per_byte == pytest.approx(0.5)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="context_length=4 needs 5 tokens, the data has 4"):
        evaluate(
            lambda x, y: x, np.arange(4), batch_size=1, context_length=4, token_num_bytes=np.ones(4, np.int64)
        )
    with pytest.raises(ValueError, match="max_windows must be at least 1, got 0"):
        evaluate(
            lambda x, y: x,
            np.arange(9),
            batch_size=1,
            context_length=4,
            token_num_bytes=np.ones(9, np.int64),
            max_windows=0,
        )
