"""What a run keeps: which checkpoint is the newest, which stay, and saving beside the training."""

import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hornbook.trainer import CheckpointError, Checkpoints, WhichCheckpoint, verify_checkpoint
from hornbook.trainer.hashed_write import write_hashed
from hornbook.trainer.state import HostBuffers
from test_checkpoint import assert_same, trained


@pytest.mark.parametrize("asynchronous", [False, True])
def test_latest_names_the_newest_and_is_used_first(tmp_path: Path, asynchronous: bool) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3, asynchronous=asynchronous)
    for step in (1, 2, 3):
        checkpoints.save(step, *trained(step), wallclock_seconds=0.0)
    checkpoints.wait()
    assert (tmp_path / "latest").read_text() == "step-00000003\n"
    assert checkpoints.latest() == tmp_path / "step-00000003"
    (tmp_path / "latest").write_text("step-00000002\n")  # as if a kill had come before it was moved
    restored = checkpoints.restore(*trained(0))
    assert restored is not None
    assert restored.step == 2
    # Going on from there, what lies ahead is of no use any more.
    checkpoints.save(2, *trained(2), wallclock_seconds=0.0)
    checkpoints.wait()
    assert [path.name for path in checkpoints.paths()] == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("said", ["", "step-00000009\n", "../elsewhere\n", "/etc\n", "\xff", "x" * 10_000])
def test_a_latest_that_names_nothing_is_told_and_the_newest_is_used(
    tmp_path: Path, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, *trained(0), wallclock_seconds=0.0)
    (tmp_path / "latest").write_text(said, encoding="latin-1")
    restored = checkpoints.restore(*trained(0))
    assert restored is not None
    assert restored.step == 1
    assert f"{tmp_path / 'latest'} not used" in caplog.text
    assert checkpoints.latest() == restored.path


def test_a_checkpoint_that_somebody_has_moved_and_left_a_link_for_stays_where_it_is(tmp_path: Path) -> None:
    checkpoints, moved = Checkpoints(tmp_path / "here"), tmp_path / "moved"
    for again in (3, 1):  # what is pruned, and what is written again, is the link
        for step in (1, 2):
            checkpoints.save(step, *trained(0), wallclock_seconds=0.0)
        checkpoints.path_of(1).rename(moved)
        checkpoints.path_of(1).symlink_to(moved)
        checkpoints.save(again, *trained(0), wallclock_seconds=0.0)
        verify_checkpoint(moved)
        shutil.rmtree(moved)
        assert not any(path.is_symlink() for path in checkpoints.directory.iterdir())


def test_a_latest_that_is_missing_is_written_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, *trained(0), wallclock_seconds=0.0)
    (tmp_path / "latest").unlink()
    checkpoints.restore(*trained(0))
    assert (tmp_path / "latest").read_text() == "step-00000002\n"


def test_the_best_ones_are_kept_beside_the_last(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=2)
    assert checkpoints.best() is None
    losses = {1: 3.0, 2: 1.0, 3: None, 4: 2.0, 5: float("inf"), 6: 2.5}
    for step, loss in losses.items():
        checkpoints.save(step, *trained(0), wallclock_seconds=0.0, metric=loss)
    assert [path.name[-1] for path in checkpoints.paths()] == ["2", "4", "6"]
    assert checkpoints.best() == tmp_path / "step-00000002"
    # Another process goes on with what is on the disk.
    again = Checkpoints(tmp_path, keep_last=1, keep_best=2)
    again.save(7, *trained(0), wallclock_seconds=0.0, metric=1.5)
    assert [path.name[-1] for path in again.paths()] == ["2", "7"]
    with pytest.raises(ValueError, match="keep_best must be at least 0, got -1"):
        Checkpoints(tmp_path, keep_best=-1)


def test_weights_are_those_of_the_checkpoint_asked_for(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=4)
    model, optimizer = trained(0)
    assert checkpoints.restore_weights(model, "best") is None
    checkpoints.save(1, model, optimizer, wallclock_seconds=0.0)
    with pytest.raises(ValueError, match=r"no checkpoint .* says how good it is.* steps \[1\]"):
        checkpoints.restore_weights(model, "best")
    for step, loss in ((2, 3.0), (3, 1.0), (4, 2.0)):
        with torch.no_grad():
            next(iter(model.parameters())).fill_(step)
        checkpoints.save(step, model, optimizer, wallclock_seconds=0.0, metric=loss)
    choices: list[tuple[WhichCheckpoint, int]] = [("latest", 4), ("best", 3), (2, 2)]
    for which, step in choices:
        opened, _ = trained(1)
        restored = checkpoints.restore_weights(opened, which)
        assert restored is not None and restored.step == step
        assert next(iter(opened.parameters())).flatten()[0] == step
    with pytest.raises(ValueError, match=r"has no checkpoint of step 5, but of steps \[1, 2, 3, 4\]"):
        checkpoints.restore_weights(model, 5)


def test_a_damaged_checkpoint_that_was_asked_for_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        path = checkpoints.save(step, *trained(0), wallclock_seconds=0.0, metric=float(-step))
    raw = bytearray((path / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (path / "model.safetensors").write_bytes(raw)
    choices: tuple[WhichCheckpoint, ...] = (3, "best")
    for which in choices:
        with pytest.raises(CheckpointError, match=r"step-00000003/model.safetensors has changed"):
            checkpoints.restore_weights(trained(0)[0], which)
    (path / "state.json").unlink()  # now nobody knows that it was the best
    assert checkpoints.best() == tmp_path / "step-00000002"
    assert f"checkpoint not used: {path / 'state.json'} is missing" in caplog.text


def test_a_damaged_one_does_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in (1, 2):
        path = checkpoints.save(step, *trained(0), wallclock_seconds=0.0)
    (path / "model.safetensors").write_bytes(b"cut")
    checkpoints.save(3, *trained(0), wallclock_seconds=0.0)
    assert [path.name[-1] for path in checkpoints.paths()] == ["1", "3"]


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


def test_what_fails_beside_the_training_is_told_at_the_next_call_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    checkpoints.save(1, *trained(0), wallclock_seconds=0.0)
    checkpoints.wait()

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for tell in (checkpoints.wait, lambda: checkpoints.save(3, *trained(0), wallclock_seconds=0.0)):
        with monkeypatch.context() as patch:
            patch.setattr("hornbook.trainer.checkpoint_directory.write_hashed", no_room)
            checkpoints.save(2, *trained(0), wallclock_seconds=0.0)
            with pytest.raises(OSError, match=r"no room to write .*step-00000002 \([\d,]+ bytes needed\)"):
                tell()
        checkpoints.wait()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]


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


def test_a_checkpoint_of_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    run = {"tokenizer": "aaaa", "model": {"d_model": 8, "betas": (0.9, 0.95)}, "most": float("inf")}
    Checkpoints(tmp_path, run=run, about={"torch": "2"}).save(1, *trained(0), wallclock_seconds=0.0)
    assert Checkpoints(tmp_path, run=run, about={"torch": "3"}).restore(*trained(0)) is not None
    with pytest.raises(ValueError, match=r'1 is of a run with tokenizer = "aaaa", this one has "b"'):
        Checkpoints(tmp_path, run=run | {"tokenizer": "b"}).restore(*trained(0))


def test_wider_moments_than_weights_keep_their_bits(tmp_path: Path) -> None:
    def one() -> tuple[nn.Linear, torch.optim.Optimizer]:
        model = nn.Linear(2, 2, bias=False, dtype=torch.bfloat16)
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    saved, other = one(), one()
    saved[1].state[saved[0].weight]["momentum"] = torch.rand(2, 2)
    Checkpoints(tmp_path).save(1, *saved, wallclock_seconds=0.0)
    Checkpoints(tmp_path).restore(*other)
    assert_same(saved, other)


def test_another_type_of_weights_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, *trained(0), wallclock_seconds=0.0)
    model, optimizer = trained(1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.gain = nn.Parameter(model.gain.detach().float())
    with pytest.raises(
        ValueError, match=r"gain: the model has float32 of shape .*, the checkpoint has bfloat16"
    ):
        Checkpoints(tmp_path).restore(model, optimizer)
    assert torch.equal(model.embedding.weight, before["embedding.weight"])


def test_the_random_numbers_of_python_and_numpy_go_on_too(tmp_path: Path) -> None:
    random.gauss(0, 1)
    np.random.standard_normal()
    Checkpoints(tmp_path).save(1, *trained(0), wallclock_seconds=0.0)
    expected = random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    Checkpoints(tmp_path).restore(*trained(0))
    assert (random.gauss(0, 1), random.random(), np.random.standard_normal(), np.random.random()) == expected


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
