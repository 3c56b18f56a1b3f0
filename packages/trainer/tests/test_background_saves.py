"""Saving in a thread beside the training."""

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hornbook.trainer import (
    Checkpoints,
    Loss,
    Row,
    RunDirectoryError,
    WeightAverage,
    load_weights,
    run_directory,
    verify_checkpoint,
)
from hornbook.trainer.background_save import BackgroundSave, saves_on_their_way
from hornbook.trainer.hashed_write import write_hashed
from hornbook.trainer.state import HostBuffers
from test_checkpoint import assert_same, trained
from tiny_run import Bigram, bigram_loss, run_in


def test_a_save_beside_the_training_holds_what_was_there_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()

    def held_back(*arguments: Any) -> Any:
        assert may_write.wait(60)
        return write_hashed(*arguments)

    monkeypatch.setattr("hornbook.trainer.checkpoint_directory.write_hashed", held_back)
    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    reference = trained(0)
    model, optimizer = trained(0)
    extra, averaged = {"list": [1]}, torch.ones(3)
    checkpoints.save(
        5, model, optimizer, wallclock_seconds=0.0, extra_tensors={"averaged": averaged}, extra=extra
    )
    expected = torch.rand(4)
    # The training goes on before a byte is written.
    with torch.no_grad():
        for value in (*model.parameters(), averaged, *optimizer.state_dict()["state"][0].values()):
            if isinstance(value, torch.Tensor):
                value.fill_(9)
    extra["list"].append(2)
    assert checkpoints.paths() == []
    may_write.set()
    other = trained(1)
    restored = checkpoints.restore(*other)  # waits
    assert restored is not None
    assert (restored.step, restored.extra) == (5, {"list": [1]})
    assert restored.extra_tensors["averaged"].tolist() == [1, 1, 1]
    assert_same(reference, other)
    assert torch.equal(torch.rand(4), expected)


@pytest.fixture
def copies_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor is copied in a thread before an update waits for it."""
    waits = threading.Event()
    real_copy, real_copied = HostBuffers.copy, BackgroundSave.copied

    def copy(self: HostBuffers, *arguments: Any, **more: Any) -> Any:
        assert waits.wait(60)
        return real_copy(self, *arguments, **more)

    def copied(self: BackgroundSave) -> None:
        waits.set()
        real_copied(self)
        waits.clear()

    def wait(self: BackgroundSave) -> None:
        waits.set()
        real_wait(self)

    real_wait = BackgroundSave.wait
    monkeypatch.setattr(HostBuffers, "copy", copy)
    monkeypatch.setattr(BackgroundSave, "copied", copied)
    monkeypatch.setattr(BackgroundSave, "wait", wait)


@pytest.mark.usefixtures("copies_late")
def test_what_is_copied_beside_the_next_passes_is_what_was_there_before_them(tmp_path: Path) -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        optimizer = torch.optim.AdamW(model.parameters(), 0.1)
        step(model, optimizer)
        return model, optimizer

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model(torch.randn(4, 3)).square().mean().backward()
        checkpoints.before_update()
        optimizer.step()

    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    model, optimizer = made()
    checkpoints.save(1, model, optimizer, wallclock_seconds=0.0, until_update=True)
    step(model, optimizer)  # a pass changes what BatchNorm keeps, and then all is changed
    other = made()
    assert checkpoints.restore(*other) is not None
    assert_same(made(), other)


@pytest.mark.usefixtures("copies_late")
def test_a_run_that_is_copied_as_late_as_can_be_saves_the_bits_of_one_that_stands_still(
    tmp_path: Path,
) -> None:
    def parts(model: nn.Module) -> dict[str, Any]:
        return {"average": WeightAverage(model, 0.9)}

    at_once, late = tmp_path / "at-once", tmp_path / "late"
    keep: dict[str, Any] = {"keep_last": 9}
    run_in(at_once, make_parts=parts, checkpoints=Checkpoints(at_once / "checkpoints", **keep))
    checkpoints = Checkpoints(late / "checkpoints", asynchronous=True, **keep)
    run_in(late, make_parts=parts, checkpoints=checkpoints)
    paths = checkpoints.paths()
    assert [path.name[-2:] for path in paths] == ["07", "14", "21", "28", "35", "40"]
    for path in paths:
        for name in ("model.safetensors", "training.safetensors", "extra.safetensors"):
            assert (path / name).read_bytes() == (at_once / "checkpoints" / path.name / name).read_bytes()


@pytest.mark.usefixtures("copies_late")
def test_who_leaves_at_once_may_change_the_model_when_train_has_ended(tmp_path: Path) -> None:
    weights: dict[int, torch.Tensor] = {}
    models: list[nn.Module] = []

    def make_loss(model: nn.Module) -> Loss:
        models.append(model)
        usual = bigram_loss(model)

        def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            weights[len(weights)] = model.get_parameter("head.weight").detach().clone()
            if len(weights) == 8:  # step 7 has just been saved
                raise KeyboardInterrupt
            return usual(inputs, targets)

        return loss

    checkpoints = Checkpoints(tmp_path / "checkpoints", asynchronous=True)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, make_loss=make_loss, checkpoints=checkpoints, loop={"eval_interval_steps": 100})
    with torch.no_grad():
        for parameter in models[0].parameters():
            parameter.zero_()
    checkpoints.wait()
    saved = Bigram()
    assert load_weights(checkpoints.path_of(7), saved).step == 7
    assert torch.equal(saved.get_parameter("head.weight"), weights[7])


class DiskThatFillsUp:
    """Has room for an asynchronous save or not."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkpoints = Checkpoints(directory, asynchronous=True)
        self.is_full = False
        monkeypatch.setattr("hornbook.trainer.checkpoint_directory.write_hashed", self._write)

    def save(self, step: int, *, full: bool) -> None:
        for thread in saves_on_their_way():  # the disk changes between two saves
            thread.join()
        self.is_full = full
        self.checkpoints.save(step, *trained(step), wallclock_seconds=0.0)

    def _write(self, *arguments: Any) -> Any:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return write_hashed(*arguments)


NO_ROOM = r"no room to write .*step-{:08d} \([\d,]+ bytes needed\)"


def test_a_save_that_fails_beside_the_training_is_logged_and_the_next_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskThatFillsUp(tmp_path, monkeypatch)
    disk.save(1, full=False)
    for step in (2, 4):  # one failure after another, but not two in a row
        disk.save(step, full=True)
        disk.save(step + 1, full=False)
        told = rf"step-{step:08d} is not saved, the next save will be tried: .*" + NO_ROOM.format(step)
        assert re.search(told, caplog.text)
    disk.checkpoints.wait()
    assert [path.name[-1] for path in disk.checkpoints.paths()] == ["3", "5"]
    assert disk.checkpoints.latest() == tmp_path / "step-00000005"


def test_two_saves_in_a_row_or_the_last_one_that_fail_beside_the_training_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskThatFillsUp(tmp_path, monkeypatch)
    disk.save(1, full=False)
    disk.save(2, full=True)
    disk.save(3, full=True)
    with pytest.raises(OSError, match=NO_ROOM.format(3)):
        disk.save(4, full=False)
    disk.checkpoints.wait()  # it was told once
    last_words: list[Callable[[], object]] = [
        disk.checkpoints.wait,
        lambda: disk.checkpoints.restore(*trained(0)),
    ]
    for last in last_words:
        disk.save(5, full=True)
        with pytest.raises(OSError, match=NO_ROOM.format(5)):
            last()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]


def save_and_wait(checkpoints: Checkpoints) -> None:
    checkpoints.save(2, *trained(1), wallclock_seconds=0.0)
    checkpoints.wait()


def test_an_error_of_the_loop_is_told_and_not_hidden_by_that_of_a_save(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        def start(self, step: int) -> None: ...

        def evaluated(self, step: int, evaluation: object) -> None: ...

        def log(self, row: Row) -> None:
            if row.step == 9:
                raise OSError(errno.ENOSPC, "no room to write metrics.csv")

        def close(self) -> None: ...

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints = Checkpoints(tmp_path / "checkpoints", asynchronous=True)
    with pytest.MonkeyPatch.context() as full:
        full.setattr("hornbook.trainer.checkpoint_directory.write_hashed", no_room)
        with pytest.raises(OSError, match=r"no room to write metrics\.csv") as told:
            run_in(tmp_path, checkpoints=checkpoints, sinks=[Full()])
    (note,) = told.value.__notes__
    assert re.match("a save has failed as well: .*" + NO_ROOM.format(7), note)
    assert re.search(NO_ROOM.format(7), caplog.text)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_byte_that_the_disk_gives_back_otherwise_is_found_before_anything_older_is_deleted(
    tmp_path: Path, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1, asynchronous=asynchronous)
    checkpoints.save(1, *trained(0), wallclock_seconds=0.0)
    checkpoints.wait()
    write = os.write

    def write_badly(descriptor: int, data: Any) -> int:
        raw = bytearray(data)
        raw[-1] ^= 1
        return write(descriptor, raw)

    monkeypatch.setattr(os, "write", write_badly)
    with pytest.raises(OSError, match=r"step-00000002.*safetensors holds other bytes than were written"):
        save_and_wait(checkpoints)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]
    verify_checkpoint(checkpoints.path_of(1))


def test_who_leaves_at_once_holds_the_directory_until_the_checkpoint_on_its_way_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, out = threading.Event(), tmp_path / "run"

    def held_back(*arguments: Any) -> Any:
        assert may_write.wait(20)
        return write_hashed(*arguments)

    def rate(step: int) -> float:
        if step == 9:  # a second Ctrl-C, while the checkpoint of step 7 is on its way
            raise KeyboardInterrupt
        return 0.01

    monkeypatch.setattr("hornbook.trainer.checkpoint_directory.write_hashed", held_back)
    checkpoints = Checkpoints(out / "checkpoints", asynchronous=True)
    with pytest.raises(KeyboardInterrupt), run_directory(out, {}, about={}):
        run_in(out, checkpoints=checkpoints, schedule=rate)
    assert checkpoints.paths() == []
    with pytest.raises(RunDirectoryError, match="in use by process"), run_directory(out, {}, about={}):
        pass
    may_write.set()
    for thread in threading.enumerate():
        if thread.name.startswith("hornbook-"):
            thread.join()
    with run_directory(out, {}, about={}):
        verify_checkpoint(checkpoints.path_of(7))


def test_a_process_ends_when_its_checkpoint_is_on_the_disk(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from hornbook.trainer import Checkpoints\n"
        "model = torch.nn.Linear(1000, 1000)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        f"Checkpoints({str(tmp_path)!r}, asynchronous=True).save(1, model, optimizer, wallclock_seconds=0)\n"
        "sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
    verify_checkpoint(tmp_path / "step-00000001")
    assert (tmp_path / "latest").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files as Linux shows them")
def test_many_saves_leave_two_checkpoints_and_no_open_file(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoints = Checkpoints(tmp_path, asynchronous=True)

    def num_open() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    checkpoints.save(1, model, optimizer, wallclock_seconds=0.0)
    checkpoints.wait()
    before = num_open()
    for step in range(2, 50):
        checkpoints.save(step, model, optimizer, wallclock_seconds=0.0)
        assert len(checkpoints.paths()) <= 3
    checkpoints.wait()
    assert num_open() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_copies_on_the_host_are_the_same_bits_of_any_type_size_and_layout() -> None:
    buffers = HostBuffers()
    for seed in (0, 1):  # the second one into the same memory
        large = torch.randn(2_200, 2_000, generator=torch.Generator().manual_seed(seed))  # more than a piece
        tensors = {
            "large": large,
            "bfloat16": large.bfloat16(),
            "transposed": large.T,
            "every other": large[:, ::2],
            "behind others": large[100:],
            "bytes": (large > 0).byte(),
            "number": large[0, 0],
            "none": torch.empty(0, 3),
        }
        before = {name: tensor.clone() for name, tensor in tensors.items()}
        copies = buffers.copy(tensors)
        large.zero_()
        assert copies.keys() == before.keys()
        for name, tensor in before.items():
            assert copies[name].dtype == tensor.dtype
            assert torch.equal(copies[name], tensor), name
