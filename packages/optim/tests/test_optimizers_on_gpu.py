"""On a GPU: the numbers of the CPU, and no wait for the device; skipped where there is none."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from hornbook.optim import AdamW, Muon, clip_grad_norm_

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SHAPES = ((64, 48), (48, 64), (48,))


def groups_for_muon(params: list[Parameter]) -> list[dict[str, Any]]:
    return [{"params": params[:2]}, {"params": params[2:], "algorithm": "adamw"}]


OPTIMIZERS: dict[str, Callable[[list[Parameter]], torch.optim.Optimizer]] = {
    "AdamW": lambda params: AdamW(params, 0.01, weight_decay=0.1),
    "AdamW, fused": lambda params: AdamW(params, 0.01, weight_decay=0.1, fused=True),
    "Muon": lambda params: Muon(groups_for_muon(params), 0.01, dtype=torch.float32),
}


@pytest.fixture
def _waiting_is_an_error() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


def parameters(device: str, dtype: torch.dtype) -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES)
    return [Parameter(values.to(device, dtype)) for values in drawn]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_hundred_steps_are_those_of_the_cpu(kind: str) -> None:
    here, there = parameters("cpu", torch.float64), parameters("cuda", torch.float32)
    # Fused is the same formula, compiled: the plain one in float64 is its measure as well.
    reference, optimizer = OPTIMIZERS[kind.removesuffix(", fused")](here), OPTIMIZERS[kind](there)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        for ours, theirs in zip(there, here, strict=True):
            theirs.grad = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
            ours.grad = theirs.grad.to("cuda", torch.float32)
        reference.step()
        optimizer.step()
    for ours, theirs in zip(there, here, strict=True):
        torch.testing.assert_close(ours.detach().cpu().double(), theirs.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("_waiting_is_an_error")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_neither_clipping_nor_an_update_waits_for_the_gpu(kind: str) -> None:
    params = parameters("cuda", torch.float32)
    optimizer = OPTIMIZERS[kind](params)
    for step in range(3):
        for param in params:
            param.grad = torch.ones_like(param)
        if step == 2:  # what the first two do once, such as compiling, may wait
            torch.cuda.set_sync_debug_mode("error")
        norm = clip_grad_norm_(params, 1.0)
        optimizer.step()
    torch.cuda.set_sync_debug_mode("default")
    assert float(norm) == pytest.approx((2 * 64 * 48 + 48) ** 0.5)
