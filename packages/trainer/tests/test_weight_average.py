from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hornbook.trainer import Checkpoints, WeightAverage


def test_it_is_the_recursion_written_out() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    average = WeightAverage(model, decay=0.7)
    expected = {name: param.detach().clone() for name, param in model.named_parameters()}
    for step in range(1, 12):
        with torch.no_grad():
            for name, param in model.named_parameters():
                param.add_(torch.randn_like(param))
                decay = min(0.7, (1 + step) / (10 + step))
                expected[name] = decay * expected[name] + (1 - decay) * param
        average.update(step)
    own = {name: param.detach().clone() for name, param in model.named_parameters()}
    with average.in_place():
        for name, param in model.named_parameters():
            torch.testing.assert_close(param.detach(), expected[name], rtol=1e-12, atol=1e-12)
    assert all(torch.equal(param, own[name]) for name, param in model.named_parameters())


def test_the_models_own_weights_come_back_after_an_error() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.5)
    own = model.weight.detach().clone().add_(1)
    model.weight.data.add_(1)
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    assert torch.equal(model.weight, own)


def test_weights_of_16_bits_are_averaged_in_32() -> None:
    # In bfloat16 1 + 0.001 is 1: the average would never move.
    model = nn.Linear(1, 1, bias=False).bfloat16()
    model.weight.data.fill_(1.0)
    average = WeightAverage(model, decay=0.999)
    model.weight.data.fill_(2.0)
    for _ in range(1000):
        average.update(step=10**6)
    (value,) = average.tensors().values()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(2 - 0.999**1000, rel=1e-4)


def test_tied_weights_are_averaged_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    assert list(WeightAverage(model, decay=0.5).tensors()) == ["average.a.weight"]


def test_a_checkpoint_gives_the_average_to_who_wants_the_weights_alone(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(1.0)
    model[1].running_mean.fill_(7.0)  # type: ignore[operator]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model, optimizer, wallclock_seconds=1.0, extra_tensors=average.tensors())
    generating = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert checkpoints.restore_weights(generating) is not None
    for name, param in generating.named_parameters():
        assert torch.equal(param, average.tensors()[f"average.{name}"])
    assert torch.equal(generating.get_buffer("1.running_mean"), torch.full((2,), 7.0))
    training = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert checkpoints.restore(training, torch.optim.SGD(training.parameters(), 0.1)) is not None
    assert all(torch.equal(a, b) for a, b in zip(training.parameters(), model.parameters(), strict=True))


def test_what_a_checkpoint_lacks_is_named() -> None:
    average = WeightAverage(nn.Linear(2, 2), decay=0.5)
    tensors: dict[str, Tensor] = average.tensors()
    tensors.pop("average.bias")
    with pytest.raises(ValueError, match=r"no average of the weights \(bias is missing\)"):
        average.load(tensors)
    with pytest.raises(ValueError, match=r"at least 0 and less than 1, got 1.0"):
        WeightAverage(nn.Linear(2, 2), decay=1.0)
