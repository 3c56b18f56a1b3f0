"""Every optimizer of hornbook goes through a checkpoint unchanged and goes on bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.optim import SGD, AdamW, Muon, decay_groups, muon_groups
from hornbook.trainer import Checkpoints, load_checkpoint, save_checkpoint


class Small(nn.Module):
    """A table, a hidden matrix, a gain, a head, and a bias that never gets a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.hidden = nn.Linear(3, 3, bias=False)
        self.gain = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(3, 5, bias=False)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(self.hidden(self.table(inputs)) * self.gain)
        return out


OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "SGD": lambda model: SGD(model.parameters(), 0.1),
    "SGD with momentum": lambda model: SGD(model.parameters(), 0.1, momentum=0.9),
    "AdamW": lambda model: AdamW(decay_groups(model, 0.1), 0.1, betas=(0.8, 0.99)),
    "Muon": lambda model: Muon(
        muon_groups(model, 0.1, not_hidden=("table", "head"), adamw_lr_scale=0.5),
        0.1,
        momentum_warmup_steps=5,
    ),
}


def train(model: nn.Module, optimizer: Optimizer, num_steps: int) -> None:
    tokens = torch.arange(5)
    for _ in range(num_steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), tokens.roll(1)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("whole_run", [True, False])
def test_an_optimizer_goes_through_a_checkpoint_unchanged(kind: str, whole_run: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Small()
    optimizer = OPTIMIZERS[kind](model)
    train(model, optimizer, 3)
    other_model = Small()
    other = OPTIMIZERS[kind](other_model)
    train(other_model, other, 1)
    if whole_run:
        path = Checkpoints(tmp_path).save(3, model, optimizer, wallclock_seconds=1.0)
        json.loads((path / "state.json").read_text())
        assert Checkpoints(tmp_path).restore(other_model, other) is not None
    else:
        save_checkpoint(model, optimizer, 3, tmp_path / "one.safetensors")
        load_checkpoint(tmp_path / "one.safetensors", other_model, other)
    for _ in range(2):  # as restored, and after going on
        saved, restored = optimizer.state_dict(), other.state_dict()
        assert saved["param_groups"] == restored["param_groups"]
        assert saved["state"].keys() == restored["state"].keys()
        for index, fields in saved["state"].items():
            assert fields.keys() == restored["state"][index].keys()
            for name, value in fields.items():
                again = restored["state"][index][name]
                assert type(again) is type(value)
                assert torch.equal(value, again) if isinstance(value, Tensor) else value == again
        for param, twin in zip(model.parameters(), other_model.parameters(), strict=True):
            assert torch.equal(param, twin)
        train(model, optimizer, 4)
        train(other_model, other, 4)


def test_the_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    save_checkpoint(model, AdamW(model.parameters(), 0.1), 3, tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"has .*momentum.*, the checkpoint is of one with betas, eps"):
        load_checkpoint(tmp_path / "checkpoint", model, SGD(model.parameters(), 0.1, momentum=0.9))
