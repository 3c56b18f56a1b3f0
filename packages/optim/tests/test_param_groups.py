import math
from typing import Any

import pytest
import torch
from torch import nn

from hornbook.optim import AdamW, Muon, decay_groups, describe_groups, muon_groups


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


class Language(nn.Module):
    """A model by the names of the assignment, two layers of it."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embeddings = nn.Embedding(5, 3)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"proj": nn.Linear(3, 3, bias=False), "ln1": nn.RMSNorm(3)}) for _ in range(2)
        )
        self.kernel = nn.Parameter(torch.ones(2, 3, 4))
        self.lm_head = nn.Linear(3, 5, bias=False)


NOT_HIDDEN = ("token_embeddings", "lm_head")


def test_hidden_matrices_go_to_muon_and_all_else_to_adamw() -> None:
    hidden, matrices, vectors = muon_groups(Language(), 0.1, not_hidden=NOT_HIDDEN, adamw_lr_scale=0.3)
    assert names(hidden) == ["layers.0.proj.weight", "layers.1.proj.weight"]
    assert (hidden["algorithm"], hidden["weight_decay"], hidden.get("lr_scale", 1.0)) == ("muon", 0.1, 1.0)
    assert names(matrices) == ["kernel", "token_embeddings.weight", "lm_head.weight"]
    assert (matrices["algorithm"], matrices["weight_decay"], matrices["lr_scale"]) == ("adamw", 0.1, 0.3)
    assert names(vectors) == ["layers.0.ln1.weight", "layers.1.ln1.weight"]
    assert (vectors["algorithm"], vectors["weight_decay"], vectors["lr_scale"]) == ("adamw", 0.0, 0.3)


def test_a_name_is_meant_as_whole_parts_of_a_dotted_name() -> None:
    first, *_ = muon_groups(Language(), 0.1, not_hidden=(*NOT_HIDDEN, "layers.1"))
    assert names(first) == ["layers.0.proj.weight"]
    with pytest.raises(ValueError, match="not_hidden names 'lm_hea', of which Language has no trainable"):
        muon_groups(Language(), 0.1, not_hidden=("lm_hea",))


def test_groups_for_muon_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TypeError, match="not_hidden must be a sequence of names, got the string 'lm_head'"):
        muon_groups(Language(), 0.1, not_hidden="lm_head")
    with pytest.raises(ValueError, match="Language has no hidden matrix for Muon"):
        muon_groups(Language(), 0.1, not_hidden=(*NOT_HIDDEN, "layers"))
    with pytest.raises(ValueError, match="ReLU has no parameter that requires a gradient"):
        muon_groups(nn.ReLU(), 0.1, not_hidden=())
    with pytest.raises(ValueError, match="weight_decay must be at least 0 and finite, got -1"):
        muon_groups(Language(), -1, not_hidden=NOT_HIDDEN)
    with pytest.raises(ValueError, match="adamw_lr_scale must be at least 0 and finite, got -1"):
        muon_groups(Language(), 0.1, not_hidden=NOT_HIDDEN, adamw_lr_scale=-1)


def test_the_table_of_groups_shows_who_decays_at_which_rate() -> None:
    optimizer = Muon(muon_groups(Language(), 0.1, not_hidden=NOT_HIDDEN, adamw_lr_scale=0.5), lr=0.02)
    assert describe_groups(optimizer.param_groups).splitlines() == [
        "group  algorithm  decay    lr  tensors  parameters  names",
        "    0       muon    0.1  0.02        2          18  layers.*.proj.weight x2",
        "    1      adamw    0.1  0.01        3          54  kernel, token_embeddings.weight, lm_head.weight",
        "    2      adamw    0.0  0.01        2           6  layers.*.ln1.weight x2",
    ]


def test_the_table_takes_groups_as_they_are_given_and_without_names() -> None:
    given = describe_groups(decay_groups(Tied(), 0.1)).splitlines()
    assert given[1:] == [
        "    0          -    0.1   -        1          15  embedding.weight",
        "    1          -    0.0   -        1           3  gain",
    ]
    unnamed = describe_groups([{"params": torch.ones(1234, 2), "lr": 3e-4}, {"params": []}]).splitlines()
    assert unnamed[1:] == [
        "    0          -      -  0.0003        1       2,468  -",
        "    1          -      -       -        0           0  -",
    ]
