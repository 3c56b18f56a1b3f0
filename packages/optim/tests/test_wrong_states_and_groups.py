"""State dicts of others and misspelt groups are refused by name, and nothing has been changed then."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from hornbook.optim import SGD, AdamW, Muon, constant, decay_groups, lr_schedule

Optimizer = SGD | AdamW | Muon
OPTIMIZERS: dict[str, Callable[[list[Parameter]], Optimizer]] = {
    "SGD": lambda params: SGD(params, lr=0.1, momentum=0.9),
    "AdamW": lambda params: AdamW(params, lr=0.1),
    "Muon": lambda params: Muon(params, lr=0.1),
}


def stepped(make: Callable[[list[Parameter]], Any], *shape: int) -> Any:
    """An optimizer of one parameter, after a step."""
    param = Parameter(torch.ones(shape))
    param.grad = torch.ones(shape)
    optimizer = make([param])
    optimizer.step()
    return optimizer


def assert_refused(optimizer: Optimizer, state_dict: dict[str, Any], message: str) -> None:
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state_dict)
    after = optimizer.state_dict()
    assert str(after) == str(before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_parameters_of_other_shapes_is_refused(name: str) -> None:
    make = OPTIMIZERS[name]
    assert_refused(
        stepped(make, 4, 3),
        stepped(make, 2, 3).state_dict(),
        r"of parameter 0 has shape \(2, 3\), the parameter \(4, 3\): the state dict is of another model",
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("other", [*OPTIMIZERS, "torch.optim.AdamW"])
def test_a_state_of_another_optimizer_is_refused(name: str, other: str) -> None:
    makers = OPTIMIZERS | {"torch.optim.AdamW": lambda params: torch.optim.AdamW(params, lr=0.1)}
    mine, theirs = stepped(OPTIMIZERS[name], 2, 3), stepped(makers[other], 2, 3).state_dict()
    if name == other:
        mine.load_state_dict(theirs)
        mine.step()
    else:
        assert_refused(mine, theirs, f"it is not of {name}")


@pytest.mark.parametrize(
    ("mine", "theirs", "name"),
    [
        ("SGD", lambda params: torch.optim.SGD(params, lr=0.1, weight_decay=0.5, momentum=0.9), "dampening"),
        ("AdamW", lambda params: torch.optim.AdamW(params, lr=0.1, amsgrad=True), "amsgrad"),
        ("Muon", lambda params: torch.optim.Muon(params, lr=0.1), "adjust_lr_fn"),
    ],
)
def test_a_state_of_torchs_that_has_not_stepped_is_refused_for_what_would_be_lost(
    mine: str, theirs: Callable[[list[Parameter]], torch.optim.Optimizer], name: str
) -> None:
    saved = theirs([Parameter(torch.ones(2, 3))]).state_dict()
    for known in OPTIMIZERS[mine]([Parameter(torch.ones(2, 3))]).param_groups[0]:
        saved["param_groups"][0].setdefault(known, 0.1)
    assert_refused(
        stepped(OPTIMIZERS[mine], 2, 3), saved, f"group 0 of the state dict has '\\w+': it is not of {mine}"
    )
    assert name in saved["param_groups"][0]


def test_what_is_no_state_dict_is_refused() -> None:
    optimizer = stepped(OPTIMIZERS["AdamW"], 2)
    assert_refused(
        optimizer, {}, "the state dict has no param_groups and no state: it is not of an optimizer"
    )
    with pytest.raises(TypeError, match="a state dict must be a dict"):
        optimizer.load_state_dict(None)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_a_schedule_of_torch_keeps_in_the_groups_is_loaded_with_them(name: str) -> None:
    scheduled, fresh = stepped(OPTIMIZERS[name], 2, 3), stepped(OPTIMIZERS[name], 2, 3)
    torch.optim.lr_scheduler.OneCycleLR(scheduled, max_lr=0.5, total_steps=9, cycle_momentum=False)
    fresh.load_state_dict(scheduled.state_dict())
    assert fresh.param_groups[0]["max_lr"] == 0.5


def test_a_hyperparameter_of_a_state_that_is_out_of_range_is_refused() -> None:
    state_dict = stepped(OPTIMIZERS["AdamW"], 2).state_dict()
    state_dict["param_groups"][0]["eps"] = 0.0
    assert_refused(stepped(OPTIMIZERS["AdamW"], 2), state_dict, "eps must be more than 0 and finite, got 0.0")


def test_what_a_group_may_not_hold_is_refused_when_it_is_given() -> None:
    param = Parameter(torch.ones(2, 2))
    with pytest.raises(
        ValueError, match="AdamW knows no 'weigth_decay' in a group, only lr, betas, eps, weig"
    ):
        AdamW([{"params": [param], "weigth_decay": 0.1}], lr=0.1)
    # A decay that SGD does not have is not passed over in silence.
    with pytest.raises(ValueError, match="SGD knows no 'weight_decay' in a group, only lr, momentum"):
        SGD(decay_groups(torch.nn.Linear(2, 2), 0.1), lr=0.1)


def test_ways_to_compute_that_there_are_not_are_refused() -> None:
    param = Parameter(torch.ones(2, 2))
    for make in (AdamW, Muon):
        with pytest.raises(TypeError, match="fused must be True or False, got 'yes'"):
            make([param], lr=0.1, fused="yes")  # type: ignore[arg-type]
    for dtype in ("bfloat16", torch.int32):
        with pytest.raises(TypeError, match="dtype must be a floating-point dtype of torch, or None, got"):
            Muon([param], lr=0.1, dtype=dtype)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"shape must be a function of the elapsed fraction, .*, got 'cosine'"
    ):
        lr_schedule("cosine", max_lr=0.1, end=10)  # type: ignore[arg-type]
    assert lr_schedule(constant, max_lr=0.1, end=10)(3) == 0.1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_can_be_loaded_again_after_another_one(name: str) -> None:
    optimizer = stepped(OPTIMIZERS[name], 2, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    for _ in range(2):  # torch adds to the optimizer's defaults when it loads
        optimizer.load_state_dict(saved)
    assert str(optimizer.state_dict()) == str(saved)
