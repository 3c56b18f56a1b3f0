import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hornbook.trainer import accumulate


def gradient(windows: int, micro_batch_size: int | None, loss_scale: float = 1.0) -> tuple[float, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7)).double()
    tokens = torch.randint(7, (windows, 6))

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    parts = accumulate(
        loss, tokens[:, :-1], tokens[:, 1:], micro_batch_size=micro_batch_size, loss_scale=loss_scale
    )
    assert len(parts) == math.ceil(windows / (micro_batch_size or windows))
    grads = [param.grad.flatten() for param in model.parameters() if param.grad is not None]
    return float(torch.stack(parts).sum()), torch.cat(grads)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12))
def test_loss_and_gradient_are_the_same_at_any_micro_batch(windows: int, micro_batch_size: int) -> None:
    whole_loss, whole = gradient(windows, None)
    loss, parts = gradient(windows, micro_batch_size)
    assert loss == pytest.approx(whole_loss, rel=1e-13)
    torch.testing.assert_close(parts, whole, rtol=1e-11, atol=1e-13)


def test_one_micro_batch_has_the_bits_of_a_plain_backward_pass() -> None:
    assert torch.equal(gradient(5, None)[1], gradient(5, 5)[1])
    assert torch.equal(gradient(5, None)[1] * 8, gradient(5, None, loss_scale=8.0)[1])


def test_processes_are_kept_from_adding_up_until_the_last_micro_batch() -> None:
    inside: list[bool] = []
    entered = 0

    class Accumulating:
        def __enter__(self) -> None:
            nonlocal entered
            entered += 1

        def __exit__(self, *_: object) -> None:
            nonlocal entered
            entered -= 1

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        inside.append(entered == 1)
        return inputs.mean()

    rows = torch.ones(5, 2, requires_grad=True)
    accumulate(loss, rows, rows, micro_batch_size=2, accumulating=Accumulating)
    assert inside == [True, True, False]
