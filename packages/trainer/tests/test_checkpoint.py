import io
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hornbook.optim import AdamW
from hornbook.trainer import (
    CheckpointError,
    Checkpoints,
    CheckpointVersionError,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)


class Tied(nn.Module):
    """An embedding whose matrix is the head's too."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.gain = nn.Parameter(torch.ones(width, dtype=torch.bfloat16))


def trained(seed: int, width: int = 3) -> tuple[Tied, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Tied(width)
    optimizer = AdamW(model.parameters(), 0.1, betas=(0.8, 0.99))
    for _ in range(3):
        loss = model.head(model.embedding(torch.arange(5))).square().sum() + model.gain.float().sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def assert_same(
    first: tuple[nn.Module, torch.optim.Optimizer], second: tuple[nn.Module, torch.optim.Optimizer]
) -> None:
    for ours, theirs in zip(first[0].state_dict().values(), second[0].state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    a, b = first[1].state_dict(), second[1].state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    for index in a["state"]:
        for field, value in a["state"][index].items():
            other = b["state"][index][field]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path: Path) -> None:
    saved = trained(0)
    Checkpoints(tmp_path).save(7, *saved, wallclock_seconds=1.25)
    expected = torch.rand(4)  # the next numbers of the generator
    other = trained(1)
    restored = Checkpoints(tmp_path).restore(*other)
    assert restored is not None
    assert (restored.step, restored.wallclock_seconds) == (7, 1.25)
    assert_same(saved, other)
    assert torch.equal(torch.rand(4), expected)
    assert isinstance(other[1].param_groups[0]["betas"], tuple)


def test_what_the_loop_adds_comes_back_with_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    averaged = {"a": torch.rand(3, dtype=torch.float64), "b": torch.arange(4).reshape(2, 2)}
    checkpoints.save(
        1, *trained(0), wallclock_seconds=0, extra_tensors=averaged, extra={"best": [0.5, None]}, metric=2.5
    )
    checkpoints.wait()
    restored = checkpoints.restore(*trained(1))
    assert restored is not None
    assert (restored.extra, restored.metric) == ({"best": [0.5, None]}, 2.5)
    assert restored.extra_tensors.keys() == averaged.keys()
    assert all(torch.equal(restored.extra_tensors[name], averaged[name]) for name in averaged)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_any_torch_optimizer_can_be_saved(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    def one(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = nn.Linear(2, 2)
        optimizer = kind(model.parameters(), lr=0.1)  # type: ignore[call-arg]
        model(torch.ones(2)).sum().backward()
        optimizer.step()
        return model, optimizer

    saved, other = one(0), one(1)
    save_checkpoint(*saved, 3, tmp_path / "one.safetensors")
    assert load_checkpoint(tmp_path / "one.safetensors", *other) == 3
    assert_same(saved, other)


def test_tied_weights_are_saved_once(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).save(1, *trained(0), wallclock_seconds=0.0)
    assert json.loads((path / "state.json").read_bytes())["aliases"] == {"head.weight": "embedding.weight"}
    assert (path / "model.safetensors").stat().st_size < 5 * 3 * 4 + 3 * 2 + 200


def test_a_path_and_a_file_object_hold_the_same_checkpoint(tmp_path: Path) -> None:
    saved = trained(0)
    buffer = io.BytesIO()
    save_checkpoint(*saved, 12, buffer)
    save_checkpoint(*saved, 12, tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == buffer.getvalue()
    for source in (
        io.BytesIO(buffer.getvalue()),
        tmp_path / "c.safetensors",
        str(tmp_path / "c.safetensors"),
    ):
        other = trained(2)
        assert load_checkpoint(source, *other) == 12
        assert_same(saved, other)


class Trickle(io.RawIOBase):
    """A file without a buffer that takes and gives seven bytes at a time."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.held += bytes(data[:7])
        return min(7, len(data))

    def readinto(self, buffer: Any) -> int:
        piece = self.held[: min(7, len(buffer))]
        buffer[: len(piece)] = piece
        del self.held[: len(piece)]
        return len(piece)


def test_a_file_that_takes_and_gives_little_at_a_time_holds_all_of_it() -> None:
    saved, other, whole, file = trained(0), trained(1), io.BytesIO(), Trickle()
    save_checkpoint(*saved, 5, whole)
    save_checkpoint(*saved, 5, file)  # type: ignore[arg-type]
    assert file.held == whole.getvalue()
    assert load_checkpoint(file, *other) == 5  # type: ignore[arg-type]
    assert_same(saved, other)


@pytest.mark.parametrize("step", [3.7, "7", True, None, -1])
def test_a_step_that_is_none_is_refused_by_name(tmp_path: Path, step: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"iteration must be .*, got {step!r}"):
        save_checkpoint(*trained(0), step, tmp_path / "c.safetensors")
    with pytest.raises((TypeError, ValueError), match=f"step must be .*, got {step!r}"):
        Checkpoints(tmp_path).save(step, *trained(0), wallclock_seconds=0.0)
    assert list(tmp_path.iterdir()) == []


def test_the_last_ones_are_kept_and_the_newest_is_used(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in (5, 90, 100_000_000):
        checkpoints.save(step, *trained(step), wallclock_seconds=0.0)
    assert [path.name for path in checkpoints.paths()] == ["step-00000090", "step-100000000"]
    restored = checkpoints.restore(*trained(0))
    assert restored is not None
    assert restored.step == 100_000_000


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").restore(*trained(0)) is None


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_flipped_bit_anywhere_in_a_directory_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = Checkpoints(tmp_path_factory.mktemp("c")).save(1, *trained(0), wallclock_seconds=0.0)
    name = data.draw(
        st.sampled_from(
            ["model.safetensors", "training.safetensors", "extra.safetensors", "state.json", "manifest.json"]
        )
    )
    raw = bytearray((path / name).read_bytes())
    position = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[position // 8] ^= 1 << position % 8
    (path / name).write_bytes(raw)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        verify_checkpoint(path)


def test_one_flipped_bit_anywhere_in_a_file_is_found(tmp_path: Path) -> None:
    save_checkpoint(*trained(0), 3, tmp_path / "c.pt")
    raw = (tmp_path / "c.pt").read_bytes()
    other = trained(1)
    before = {name: tensor.clone() for name, tensor in other[0].state_dict().items()}
    for position in range(0, len(raw) * 8, 37):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(CheckpointError, match="^" + re.escape(str(tmp_path / "changed")) + " "):
            load_checkpoint(tmp_path / "changed", *other)
    for length in range(0, len(raw), 61):
        with pytest.raises(CheckpointError, match=r"is not a checkpoint|ends within"):
            load_checkpoint(io.BytesIO(raw[:length]), *other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other[0].state_dict().items())


@pytest.mark.parametrize(
    "name", ["model.safetensors", "training.safetensors", "extra.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    good = trained(0)
    checkpoints.save(1, *good, wallclock_seconds=0.0)
    file = checkpoints.save(2, *trained(1), wallclock_seconds=0.0) / name
    raw = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": raw[: len(raw) // 2], "longer": raw + b"?"}[damage])
    other = trained(2)
    restored = checkpoints.restore(*other)
    assert restored is not None
    assert restored.step == 1
    assert_same(good, other)
    assert str(file) in caplog.text


def test_when_none_is_whole_the_run_does_not_start_anew_in_silence(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    (checkpoints.save(1, *trained(0), wallclock_seconds=0.0) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole.*model.safetensors is missing"):
        checkpoints.restore(*trained(0))


def test_a_checkpoint_of_another_model_is_refused_with_both_shapes(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, *trained(0, width=3), wallclock_seconds=0.0)
    with pytest.raises(
        ValueError,
        match=r"embedding.weight: the model has float32 of shape \(5, 4\), the checkpoint has float32 of",
    ):
        Checkpoints(tmp_path).restore(*trained(0, width=4))


def test_a_checkpoint_of_other_parameter_groups_is_refused_with_both(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, *trained(0), wallclock_seconds=0.0)
    model, _ = trained(0)
    groups = [{"params": [p]} for p in model.parameters()]
    with pytest.raises(ValueError, match=r"groups of \[1, 1\] parameters, the checkpoint has \[2\]"):
        Checkpoints(tmp_path).restore(model, AdamW(groups, 0.1))


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, ("exploded",))


def test_a_file_of_another_model_is_refused_with_its_name_and_left_behind_its_end(tmp_path: Path) -> None:
    save_checkpoint(*trained(0, width=3), 1, tmp_path / "c")
    with pytest.raises(
        ValueError, match=r"/c: embedding.weight: the model has float32 of shape \(5, 4\)"
    ) as told:
        load_checkpoint(tmp_path / "c", *trained(0, width=4))
    assert not isinstance(told.value, CheckpointError)
    file = io.BytesIO((tmp_path / "c").read_bytes() + b"more")
    with pytest.raises(ValueError, match="the model has"):
        load_checkpoint(file, *trained(0, width=4))
    assert file.read() == b"more"


def test_a_whole_file_of_another_version_is_told_apart_from_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("hornbook.trainer.checkpoint_file.VERSION", 9)
        save_checkpoint(*trained(0), 1, tmp_path / "c")
    with pytest.raises(CheckpointVersionError, match=r"/c has version 9, this hornbook reads version 2"):
        load_checkpoint(tmp_path / "c", *trained(0))
    raw = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"/c has changed since it was written"):
        load_checkpoint(tmp_path / "c", *trained(0))


def test_what_is_no_file_is_refused_by_name_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(ValueError, match=f"{path} is a device, a pipe or a socket, not a file"):
            save_checkpoint(*trained(0), 1, path)
        assert pipe.is_fifo()
    for path in (pipe, tmp_path):
        with pytest.raises(CheckpointError, match=f"{path} is not a plain file"):
            load_checkpoint(path, *trained(0))
    for nothing in (None, 3):
        with pytest.raises(TypeError, match=f"out must be a path or a binary file, got {nothing}"):
            save_checkpoint(*trained(0), 1, nothing)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=f"src must be a path or a binary file, got {nothing}"):
            load_checkpoint(nothing, *trained(0))  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_numpys_whole_numbers_are_steps(tmp_path: Path) -> None:
    save_checkpoint(*trained(0), np.int64(7), tmp_path / "c")  # type: ignore[arg-type]
    assert load_checkpoint(tmp_path / "c", *trained(0)) == 7
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(np.int64(7), *trained(0), wallclock_seconds=0.0)  # type: ignore[arg-type]
    restored = checkpoints.restore(*trained(0))
    assert restored is not None and restored.step == 7


def test_an_optimizer_whose_state_is_no_tensor_is_refused_by_name(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure() -> float:
        loss = model(torch.ones(2)).square().sum()
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    for save in (
        lambda: save_checkpoint(model, optimizer, 1, tmp_path / "c"),
        lambda: Checkpoints(tmp_path).save(1, model, optimizer, wallclock_seconds=0.0),
    ):
        with pytest.raises(
            TypeError, match=r"LBFGS can't be saved: '\w+' of its state holds a \w+, only tensors"
        ):
            save()
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for raw in (pickle.dumps(_Bomb()), b"", b"\xff" * 40, (2**63).to_bytes(8, "little") + b"{}"):
        (tmp_path / "bad.pt").write_bytes(raw)
        with pytest.raises(CheckpointError, match=r"bad.pt is not a checkpoint of hornbook"):
            load_checkpoint(tmp_path / "bad.pt", *trained(0))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt"]


def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    good = trained(0)
    checkpoints.save(1, *good, wallclock_seconds=0.0)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hornbook.trainer.checkpoint_directory.write_hashed", no_room)
        with pytest.raises(OSError, match=r"no room to write .*step-00000002 \([\d,]+ bytes needed\)"):
            checkpoints.save(2, *trained(1), wallclock_seconds=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]


def test_what_a_killed_save_left_is_cleaned_up(tmp_path: Path) -> None:
    left = tmp_path / ".step-00000001.123.part"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(*trained(0)) is None
    assert list(tmp_path.iterdir()) == []
    checkpoints.save(1, *trained(0), wallclock_seconds=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]
