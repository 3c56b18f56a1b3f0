"""The factor of float16 agrees with torch.amp.GradScaler; autocast changes the products alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hornbook.trainer import LossScale, allow_tf32, autocast, choose_precision


@settings(deadline=None)
@given(st.lists(st.sampled_from(["good", "overflow"]), max_size=60), st.integers(1, 5))
def test_the_factor_goes_as_in_torch(updates: list[str], interval: int) -> None:
    ours = LossScale(2.0**10, growth_interval_steps=interval)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=interval)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.0)
    for kind in updates:
        weight.grad = None
        gradient = 3.0 if kind == "good" else math.inf
        theirs.scale((weight * gradient).sum()).backward()  # type: ignore[no-untyped-call]
        theirs.unscale_(optimizer)
        ours_gradient = torch.tensor([gradient * ours.value])
        ours.unscale_([ours_gradient, None])
        assert weight.grad is not None and torch.equal(ours_gradient, weight.grad)
        theirs.step(optimizer)
        theirs.update()
        if kind == "good":
            ours.grow()
        elif not ours.shrink():
            return  # torch goes below 1, where scaling helps no more
        assert ours.value == theirs.get_scale()


def test_the_factor_goes_on_where_it_was() -> None:
    one = LossScale(4.0, growth_interval_steps=3)
    one.grow()
    one.grow()
    two = LossScale(growth_interval_steps=3)
    two.load(one.state())
    two.grow()
    assert two.value == 8.0
    assert LossScale.none().shrink() is False


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_products_are_computed_in_16_bits_and_weights_stay_in_32(precision: str, dtype: torch.dtype) -> None:
    linear = nn.Linear(4, 4)
    seen: list[torch.dtype] = []

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        out = linear(inputs)
        seen.append(out.dtype)
        mean: Tensor = out.float().mean()
        return mean

    x = torch.ones(2, 4)
    autocast(loss, torch.device("cpu"), precision)(x, x).backward()  # type: ignore[no-untyped-call, arg-type]
    assert seen == [dtype]
    assert linear.weight.grad is not None and linear.weight.grad.dtype == torch.float32
    assert autocast(loss, torch.device("cpu"), "fp32") is loss


def test_the_cpu_and_apples_gpus_compute_in_32_bits_unless_asked() -> None:
    before = torch.get_float32_matmul_precision()
    for device in (torch.device("cpu"), torch.device("mps")):
        assert choose_precision(device) == "fp32"
        assert not allow_tf32(device)
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_16_bits_and_tf32() -> None:
    device = torch.device("cuda")
    assert choose_precision(device) in {"bf16", "fp16"}
    assert allow_tf32(device)
    assert torch.get_float32_matmul_precision() == "high"
