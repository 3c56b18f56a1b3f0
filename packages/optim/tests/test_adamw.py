import copy
import json
import math
import warnings
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from hornbook.optim import AdamW, adamw, cosine_schedule, decay_groups

SHAPES = [(), (5,), (4, 3), (2, 3, 4), (0, 3), (1, 64)]
unit = st.floats(0.0, 0.999)
hyperparameters = st.fixed_dictionaries(
    {
        "lr": st.floats(0.0, 0.1),
        "betas": st.tuples(unit, unit),
        "eps": st.floats(1e-10, 1e-2),
        "weight_decay": st.floats(0.0, 1.0),
    }
)


def copies(params: list[Parameter]) -> list[Parameter]:
    return [Parameter(param.detach().clone()) for param in params]


def set_gradients(*twins: list[Parameter], generator: torch.Generator, share: float = 1.0) -> None:
    """Give all twins the same random gradients, or none to a parameter with chance 1 - share."""
    for same in zip(*twins, strict=True):
        missing = torch.rand((), generator=generator).item() > share
        grad = torch.randn(same[0].shape, generator=generator, dtype=same[0].dtype)
        for param in same:
            param.grad = None if missing else grad.clone()


def by_the_formula(
    param: Tensor,
    grads: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> Tensor:
    """Algorithm 2 of the paper, line by line."""
    beta1, beta2 = betas
    m, v = torch.zeros_like(param), torch.zeros_like(param)
    for t, grad in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        param = param - lr * (m_hat / (v_hat.sqrt() + eps) + weight_decay * param)
    return param


@settings(deadline=None)
@given(shape=st.lists(st.integers(0, 9), max_size=3), slice_size=st.integers(1, 40), seed=st.integers(0, 99))
def test_slices_of_a_parameter_are_updated_as_the_whole_is(
    shape: list[int], slice_size: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(shape, generator=generator, dtype=torch.float64)
    twins = [[Parameter(start.mT.clone().mT if len(shape) > 1 else start.clone())] for _ in range(2)]
    optimizers = [AdamW(params, lr=0.1, weight_decay=0.1) for params in twins]
    for _ in range(3):
        set_gradients(*twins, generator=generator)
        for size, optimizer in zip((2**18, slice_size), optimizers, strict=True):
            with patch.object(adamw, "_SLICE", size):
                optimizer.step()
    assert torch.equal(twins[0][0], twins[1][0])
    assert shape == [] or start.numel() == 0 or not torch.equal(twins[1][0], start)


@settings(deadline=None, max_examples=50)
@given(
    shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4),
    hyper=hyperparameters,
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_papers_formula(
    shapes: list[tuple[int, ...]], hyper: dict[str, Any], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    starts = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    grads = [
        [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(7)]
        for shape in shapes
    ]
    params = [Parameter(start.clone()) for start in starts]
    optimizer = AdamW(params, **hyper)
    for step in range(7):
        for param, own in zip(params, grads, strict=True):
            param.grad = own[step]
        optimizer.step()
    for param, start, own in zip(params, starts, grads, strict=True):
        torch.testing.assert_close(
            param.detach(), by_the_formula(start, own, **hyper), rtol=1e-12, atol=1e-14
        )


@settings(deadline=None, max_examples=30)
@given(groups=st.lists(hyperparameters, min_size=1, max_size=3), seed=st.integers(0, 2**31))
def test_it_agrees_with_torch_for_any_groups(groups: list[dict[str, Any]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    params = [
        Parameter(torch.randn(SHAPES[i % 6], generator=generator, dtype=torch.float64))
        for i in range(2 * len(groups))
    ]
    twins = copies(params)
    ours = AdamW([{"params": params[2 * i : 2 * i + 2], **group} for i, group in enumerate(groups)], lr=1e-3)
    theirs = torch.optim.AdamW(
        [{"params": twins[2 * i : 2 * i + 2], **group} for i, group in enumerate(groups)], lr=1e-3
    )
    for _ in range(10):
        set_gradients(params, twins, generator=generator, share=0.7)
        ours.step()
        theirs.step()
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_stays_within_a_millionth_of_torch_for_1000_steps(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    params = [
        Parameter(0.1 * torch.randn(shape, generator=generator, dtype=dtype))
        for shape in ((16, 8), (8, 8), (8,), ())
    ]
    twins = copies(params)
    schedule = cosine_schedule(max_lr=3e-3, min_lr=1e-4, warmup_steps=100, cosine_steps=900)

    def groups(four: list[Parameter]) -> list[dict[str, Any]]:
        return [
            {"params": four[:2], "weight_decay": 0.1, "betas": (0.9, 0.95)},
            {"params": four[2:], "weight_decay": 0.0},
        ]

    ours = AdamW(groups(params), lr=0.0)
    theirs = torch.optim.AdamW(groups(twins), lr=0.0)
    start = copies(params)
    for step in range(1000):
        set_gradients(params, twins, generator=generator, share=0.9)
        for optimizer in (ours, theirs):
            for group in optimizer.param_groups:
                group["lr"] = schedule(step)
        ours.step()
        theirs.step()
    for param, twin, before in zip(params, twins, start, strict=True):
        torch.testing.assert_close(param, twin, rtol=0, atol=1e-6)
        assert (param - before).abs().max() > 1e-3  # a thousand times what the two may differ by


def test_the_form_printed_in_the_assignment_differs_by_less_than_its_tests_allow() -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    param = Parameter(theta.clone())
    lr, beta1, beta2, eps, weight_decay = 1e-3, 0.9, 0.999, 1e-8, 0.01
    optimizer = AdamW([param], lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t in range(1, 1001):
        grad = torch.randn(3, 2, generator=generator, dtype=torch.float64) + theta
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad**2
        theta = theta - lr * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (v.sqrt() + eps)
        theta = theta - lr * weight_decay * theta
        param.grad = grad
        optimizer.step()
    torch.testing.assert_close(param.detach(), theta, rtol=0, atol=1e-5)


def test_two_steps_by_hand() -> None:
    # With betas of 0 a step is p - lr * (decay * p + g / (|g| + eps)).
    param = Parameter(torch.tensor([10.0], dtype=torch.float64))
    optimizer = AdamW([param], lr=0.5, betas=(0.0, 0.0), eps=1.0, weight_decay=0.2)
    param.grad = torch.tensor([3.0], dtype=torch.float64)
    optimizer.step()
    assert param.item() == pytest.approx(10 - 0.5 * (2 + 3 / 4), rel=1e-15)
    param.grad = torch.tensor([-1.0], dtype=torch.float64)
    optimizer.step()
    assert param.item() == pytest.approx(8.625 - 0.5 * (1.725 - 1 / 2), rel=1e-15)


def test_a_parameter_without_gradient_is_left_alone() -> None:
    moved, still = Parameter(torch.ones(2)), Parameter(torch.ones(2))
    optimizer = AdamW([moved, still], lr=0.1, weight_decay=0.5)
    moved.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(still, torch.ones(2))
    assert still not in optimizer.state
    assert not torch.equal(moved, torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_saved_and_restored_mid_run_it_goes_on_bit_for_bit(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    model = torch.nn.ModuleList([torch.nn.Linear(4, 3), torch.nn.LayerNorm(3)]).to(dtype)
    optimizer = AdamW(decay_groups(model, 0.1), lr=0.1, betas=(0.9, 0.95))
    params = list(model.parameters())

    def train(params: list[Parameter], optimizer: AdamW, grads: torch.Generator) -> None:
        for step in range(20):
            set_gradients(params, generator=grads, share=0.8)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            optimizer.step()

    train(params, optimizer, generator)
    saved = copy.deepcopy(optimizer.state_dict())
    twin_model = copy.deepcopy(model)
    twin_generator = torch.Generator()
    twin_generator.set_state(generator.get_state())

    twin = AdamW(decay_groups(twin_model, 0.5), lr=7.0)
    twin.load_state_dict(saved)
    twin_params = list(twin_model.parameters())
    train(params, optimizer, generator)
    train(twin_params, twin, twin_generator)
    for param, twin_param in zip(params, twin_params, strict=True):
        assert torch.equal(param, twin_param)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            a, b = optimizer.state[param][key], twin.state[twin_param][key]
            assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_the_state_is_tensors_and_json() -> None:
    param = Parameter(torch.ones(3, 2))
    optimizer = AdamW([("weight", param)], lr=0.1)
    for _ in range(3):
        param.grad = torch.ones(3, 2)
        optimizer.step()
    saved = optimizer.state_dict()
    entry = saved["state"][0]
    assert type(entry["step"]) is int and entry["step"] == 3
    assert all(type(entry[key]) is Tensor and entry[key].shape == (3, 2) for key in ("exp_avg", "exp_avg_sq"))

    # JSON turns the tuple of betas into a list and the numbers of the parameters into strings.
    there_and_back = json.loads(json.dumps(saved["param_groups"]))
    fresh = AdamW([("weight", param)], lr=1.0)
    fresh.load_state_dict({"state": saved["state"], "param_groups": there_and_back})
    param.grad = torch.ones(3, 2)
    fresh.step()
    assert fresh.state[param]["step"] == 4


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), split=st.integers(1, 3))
def test_how_parameters_are_grouped_changes_no_bit(seed: int, split: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    params = [Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES[:4]]
    twins = copies(params)
    together = AdamW(params, lr=0.01)
    apart = AdamW([{"params": twins[:split]}, {"params": twins[split:]}], lr=0.01)
    for _ in range(5):
        set_gradients(params, twins, generator=generator, share=0.8)
        together.step()
        apart.step()
    assert all(torch.equal(param, twin) for param, twin in zip(params, twins, strict=True))


def test_half_precision_and_float32_may_share_a_group() -> None:
    params = [Parameter(torch.ones(3)), Parameter(torch.ones(3, dtype=torch.bfloat16))]
    optimizer = AdamW(params, lr=0.5, weight_decay=0.0)
    for param in params:
        param.grad = torch.full_like(param, 2.0)
    optimizer.step()
    for param in params:
        torch.testing.assert_close(param.detach(), torch.full_like(param, 0.5))
        assert optimizer.state[param]["exp_avg"].dtype == param.dtype


def test_the_closure_is_run_with_gradients_and_its_loss_returned() -> None:
    param = Parameter(torch.tensor([2.0]))
    optimizer = AdamW([param], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert param.item() < 2.0


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"lr": -1e-3}, ValueError, "lr must be at least 0 and finite, got -0.001"),
        ({"lr": math.nan}, ValueError, "lr must be at least 0 and finite, got nan"),
        ({"lr": math.inf}, ValueError, "lr must be at least 0 and finite, got inf"),
        ({"lr": "0.1"}, TypeError, "lr must be a number, got '0.1' of type str"),
        ({"lr": True}, TypeError, "lr must be a number, got True of type bool"),
        ({"betas": (1.0, 0.9)}, ValueError, r"betas\[0\] must be at least 0 and less than 1, got 1.0"),
        ({"betas": (0.9, -0.1)}, ValueError, r"betas\[1\] must be at least 0 and less than 1, got -0.1"),
        ({"betas": 0.9}, TypeError, "betas must be two numbers, got 0.9"),
        ({"betas": (0.9, 0.9, 0.9)}, TypeError, r"betas must be two numbers, got \(0.9, 0.9, 0.9\)"),
        ({"eps": 0.0}, ValueError, "eps must be more than 0 and finite, got 0.0"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0 and finite, got -1"),
    ],
)
def test_wrong_hyperparameters_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    param = Parameter(torch.ones(2))
    with pytest.raises(error, match=message):
        AdamW([param], **({"lr": 0.1} | wrong))
    with pytest.raises(error, match=message):
        AdamW([{"params": [param], **wrong}], lr=0.1)

    optimizer = AdamW([param], lr=0.1)
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": [Parameter(torch.ones(2))], **wrong})
    assert len(optimizer.param_groups) == 1

    optimizer.param_groups[0].update(wrong)
    param.grad = torch.ones(2)
    with pytest.raises(error, match=message):
        optimizer.step()
    assert torch.equal(param, torch.ones(2))


def test_sparse_gradients_and_complex_parameters_are_refused() -> None:
    param = Parameter(torch.ones(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        param.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(
        ValueError, match=r"AdamW needs dense gradients, got torch.sparse_coo .* shape \(3, 2\)"
    ):
        AdamW([param], lr=0.1).step()

    param = Parameter(torch.ones(2, dtype=torch.complex64))
    param.grad = torch.ones(2, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"needs real floating-point parameters, got torch\.complex64"):
        AdamW([param], lr=0.1).step()
