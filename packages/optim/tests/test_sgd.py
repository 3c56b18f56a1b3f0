import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter

from hornbook.optim import SGD, inverse_sqrt_schedule


def toy_losses(max_lr: float) -> list[float]:
    """The toy run of CS336: 100 normal weights times 5, loss mean of squares, rate lr / sqrt(t + 1)."""
    generator = torch.Generator().manual_seed(0)
    weights = Parameter(5 * torch.randn(10, 10, generator=generator, dtype=torch.float64))
    optimizer = SGD([weights], lr=max_lr)
    schedule = inverse_sqrt_schedule(max_lr=max_lr)
    losses = []
    for step in range(10):
        optimizer.param_groups[0]["lr"] = schedule(step)
        optimizer.zero_grad()
        loss = (weights**2).mean()
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses


@pytest.mark.parametrize("max_lr", [1.0, 10.0, 1000.0])
def test_the_toy_run_follows_its_closed_form(max_lr: float) -> None:
    # The gradient of the mean of 100 squares is w / 50, so step t multiplies every weight by 1 - lr_t / 50.
    losses = toy_losses(max_lr)
    expected = losses[0]
    for step, loss in enumerate(losses):
        assert loss == pytest.approx(expected, rel=1e-12)
        expected *= (1 - max_lr / math.sqrt(step + 1) / 50) ** 2


def test_the_toy_run_falls_steadily_at_10_vanishes_at_100_and_explodes_at_1000() -> None:
    at_1, at_10, at_100, at_1000 = (toy_losses(lr) for lr in (1.0, 10.0, 100.0, 1000.0))
    assert at_1 == sorted(at_1, reverse=True)
    assert at_10 == sorted(at_10, reverse=True) and at_10[-1] < at_1[-1] / 5
    # At 100 the first step turns every weight round and the fourth hits zero but for rounding.
    assert at_100[1] == pytest.approx(at_100[0], rel=1e-12) and at_100[4] < 1e-28 and at_100[-1] < at_100[4]
    assert at_1000[-1] > 1e15 * at_1000[0] and math.isfinite(at_1000[-1])


def test_a_group_may_have_its_own_rate_and_a_parameter_no_gradient() -> None:
    fast, slow, still = (Parameter(torch.ones(2)) for _ in range(3))
    groups: list[dict[str, Any]] = [{"params": [fast], "lr": 0.5}, {"params": [slow, still]}]
    optimizer = SGD(groups, lr=0.25)
    fast.grad = slow.grad = torch.ones(2)
    optimizer.step()
    assert fast.tolist() == [0.5, 0.5]
    assert slow.tolist() == [0.75, 0.75]
    assert still.tolist() == [1.0, 1.0]


def test_it_agrees_with_torch() -> None:
    torch.manual_seed(0)
    params = [
        Parameter(torch.randn(4, 3, dtype=torch.float64)),
        Parameter(torch.randn(3, dtype=torch.float64)),
    ]
    twins = [Parameter(param.detach().clone()) for param in params]
    ours, theirs = SGD(params, lr=0.1), torch.optim.SGD(twins, lr=0.1)
    for _ in range(10):
        for param, twin in zip(params, twins, strict=True):
            param.grad = torch.randn_like(param)
            twin.grad = param.grad.clone()
        ours.step()
        theirs.step()
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-12, atol=0)


def test_the_closure_is_run_with_gradients_and_its_loss_returned() -> None:
    param = Parameter(torch.tensor([2.0]))
    optimizer = SGD([param], lr=0.25)

    def closure() -> float:
        loss = (param**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert param.item() == 1.0


def test_a_wrong_rate_is_refused_by_name() -> None:
    param = Parameter(torch.ones(2))
    for lr in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"lr must be at least 0 and finite, got {lr}"):
            SGD([param], lr=lr)
        with pytest.raises(ValueError, match=f"lr must be at least 0 and finite, got {lr}"):
            SGD([{"params": [param], "lr": lr}], lr=0.1)
    optimizer = SGD([param], lr=0.1)
    optimizer.param_groups[0]["lr"] = math.nan
    with pytest.raises(ValueError, match="lr must be at least 0 and finite, got nan"):
        optimizer.step()


def test_sparse_gradients_are_refused() -> None:
    param = Parameter(torch.ones(3, 2))
    param.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(ValueError, match=r"SGD needs dense gradients, got torch\.sparse_coo"):
        SGD([param], lr=0.1).step()


@settings(deadline=None, max_examples=30)
@given(
    shapes=st.lists(st.sampled_from([(), (5,), (4, 3), (0, 3)]), min_size=2, max_size=4),
    momenta=st.tuples(st.floats(0.0, 0.99), st.floats(0.0, 0.99)),
    lr=st.floats(0.0, 0.1),
    seed=st.integers(0, 2**31),
)
def test_with_momentum_it_agrees_with_torch_for_any_groups(
    shapes: list[tuple[int, ...]], momenta: tuple[float, float], lr: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    params = [Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]
    twins = [Parameter(param.detach().clone()) for param in params]

    def groups(all_params: list[Parameter]) -> list[dict[str, Any]]:
        return [
            {"params": all_params[:1], "momentum": momenta[0]},
            {"params": all_params[1:], "momentum": momenta[1]},
        ]

    ours, theirs = SGD(groups(params), lr), torch.optim.SGD(groups(twins), lr)
    for _ in range(20):
        for param, twin in zip(params, twins, strict=True):
            grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            missing = torch.rand((), generator=generator).item() < 0.2
            param.grad, twin.grad = (None, None) if missing else (grad, grad.clone())
        ours.step()
        theirs.step()
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-12, atol=1e-13)


def test_two_steps_with_momentum_by_hand_and_the_gradient_is_not_touched() -> None:
    param = Parameter(torch.tensor([10.0]))
    optimizer = SGD([param], lr=0.5, momentum=0.5)
    for expected in (10 - 0.5 * 4, 8 - 0.5 * (0.5 * 4 + 4)):
        param.grad = torch.tensor([4.0])
        optimizer.step()
        assert param.item() == expected
        assert param.grad.item() == 4.0


def test_momentum_goes_through_the_state_dict_bit_for_bit_and_without_it_there_is_no_state() -> None:
    torch.manual_seed(0)
    param = Parameter(torch.randn(3, 2))
    plain, heavy = SGD([param], lr=0.1), SGD([param], lr=0.1, momentum=0.9)
    for optimizer in (plain, heavy):
        param.grad = torch.randn(3, 2)
        optimizer.step()
    assert plain.state_dict()["state"] == {}
    twin = Parameter(param.detach().clone())
    other = SGD([twin], lr=7.0)
    other.load_state_dict(copy.deepcopy(heavy.state_dict()))
    for _ in range(3):
        param.grad = twin.grad = torch.randn(3, 2)
        heavy.step()
        other.step()
    assert torch.equal(param, twin)


def test_a_wrong_momentum_is_refused_by_name() -> None:
    for momentum in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=f"momentum must be at least 0 and less than 1, got {momentum}"):
            SGD([Parameter(torch.ones(2))], lr=0.1, momentum=momentum)
