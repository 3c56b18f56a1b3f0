"""Promises about devices, on those that the machine has; `meta` has no values, so reading one would raise."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from hornbook.optim import SGD, AdamW, Muon


def groups_for_muon(params: list[Parameter]) -> list[dict[str, Any]]:
    return [{"params": params[:2]}, {"params": params[2:], "algorithm": "adamw"}]


OPTIMIZERS: dict[str, Callable[[list[Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda params: SGD(params, 0.1, momentum=0.9),
    "AdamW": lambda params: AdamW(params, 0.1),
    "Muon": lambda params: Muon(groups_for_muon(params), 0.1, dtype=torch.float32),
}
DEVICES = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()


def stepped(kind: str, device: str, num_steps: int) -> tuple[list[Parameter], torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(0)
    params = [
        Parameter(torch.randn(shape, generator=generator).to(device)) for shape in ((4, 3), (3, 4), (5,))
    ]
    optimizer = OPTIMIZERS[kind](params)
    step_more(params, optimizer, generator, num_steps)
    return params, optimizer


def step_more(
    params: list[Parameter], optimizer: torch.optim.Optimizer, generator: torch.Generator, num_steps: int
) -> None:
    for _ in range(num_steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).to(param.device)
        optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_never_asks_the_device_for_a_value(kind: str) -> None:
    params, optimizer = stepped(kind, "meta", 2)
    tensors = [
        value for param in params for value in optimizer.state[param].values() if isinstance(value, Tensor)
    ]
    assert tensors and all(tensor.is_meta for tensor in tensors)


@pytest.mark.skipif(not DEVICES, reason="neither CUDA nor MPS")
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_state_saved_on_the_cpu_goes_on_elsewhere(kind: str, device: str) -> None:
    params, optimizer = stepped(kind, "cpu", 3)
    moved = [Parameter(param.detach().to(device)) for param in params]
    other = OPTIMIZERS[kind](moved)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for param in moved:
        for value in other.state[param].values():
            assert not isinstance(value, Tensor) or value.device == param.device
    step_more(params, optimizer, torch.Generator().manual_seed(1), 3)
    step_more(moved, other, torch.Generator().manual_seed(1), 3)
    for param, twin in zip(params, moved, strict=True):
        torch.testing.assert_close(param.detach(), twin.detach().cpu(), rtol=1e-4, atol=1e-4)
