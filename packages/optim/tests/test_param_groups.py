import math
from typing import Any

import pytest
import torch
from torch import nn

from hornbook.optim import AdamW, decay_groups


class Tied(nn.Module):
    """An embedding and a head that share their weight, a gain and a frozen matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.gain = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


def names(group: dict[str, Any]) -> list[str]:
    return [name for name, _ in group["params"]]


def test_matrices_decay_gains_do_not_and_a_tied_weight_comes_once() -> None:
    decayed, kept = decay_groups(Tied(), weight_decay=0.1)
    assert (decayed["weight_decay"], names(decayed)) == (0.1, ["embedding.weight"])
    assert (kept["weight_decay"], names(kept)) == (0.0, ["gain"])


def test_the_groups_hold_every_trainable_parameter_once() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.LayerNorm(3), nn.Linear(3, 3), Tied())
    params = [param for group in decay_groups(model, 0.1) for _, param in group["params"]]
    trainable = [param for param in model.parameters() if param.requires_grad]
    assert len(params) == len(trainable)
    assert {id(param) for param in params} == {id(param) for param in trainable}


def test_the_optimizer_takes_the_groups_keeps_the_names_and_decays_matrices_alone() -> None:
    model = Tied()
    optimizer = AdamW(decay_groups(model, weight_decay=0.5), lr=0.1)
    assert [group["param_names"] for group in optimizer.param_groups] == [["embedding.weight"], ["gain"]]
    before = model.embedding.weight.detach().clone()
    for param in (model.embedding.weight, model.gain):
        param.grad = torch.zeros_like(param)
    optimizer.step()
    torch.testing.assert_close(model.embedding.weight.detach(), before * 0.95)
    assert torch.equal(model.gain, torch.ones(3))


def test_an_empty_group_is_left_out() -> None:
    assert [names(group) for group in decay_groups(nn.Linear(2, 2, bias=False), 0.1)] == [["weight"]]
    assert [names(group) for group in decay_groups(nn.LayerNorm(2, bias=False), 0.1)] == [["weight"]]


def test_wrong_arguments_are_refused() -> None:
    for weight_decay in (-0.1, math.nan, math.inf):
        with pytest.raises(
            ValueError, match=f"weight_decay must be at least 0 and finite, got {weight_decay}"
        ):
            decay_groups(nn.Linear(2, 2), weight_decay)
    with pytest.raises(ValueError, match="ReLU has no parameter that requires a gradient"):
        decay_groups(nn.ReLU(), 0.1)
