"""What a run keeps: which checkpoint is the newest, which stay, whose it is."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hornbook.trainer import (
    CheckpointError,
    Checkpoints,
    CheckpointVersionError,
    WhichCheckpoint,
    load_weights,
    verify_checkpoint,
)
from test_checkpoint import assert_same, trained


@pytest.mark.parametrize("asynchronous", [False, True])
def test_latest_names_the_newest_which_is_used_whatever_it_names(tmp_path: Path, asynchronous: bool) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3, asynchronous=asynchronous)
    for step in (1, 2, 3):
        checkpoints.save(step, *trained(step), wallclock_seconds=0.0)
    checkpoints.wait()
    assert (tmp_path / "latest").read_text() == "step-00000003\n"
    assert checkpoints.latest() == tmp_path / "step-00000003"
    (tmp_path / "latest").write_text("step-00000002\n")  # a flipped bit, or a kill before it was moved
    restored = checkpoints.restore(*trained(0))
    assert restored is not None and restored.step == 3
    assert checkpoints.latest() == tmp_path / "step-00000003"
    weights = checkpoints.restore_weights(trained(0)[0])
    assert weights is not None and weights.step == 3


def test_what_is_newer_than_a_save_stays_if_it_is_whole_and_goes_if_it_is_damaged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    for step in (4, 7, 9):
        checkpoints.save(step, *trained(step), wallclock_seconds=0.0)
        checkpoints.path_of(step).rename(tmp_path / f"{step}")
    for step in (7, 9):
        (tmp_path / f"{step}").rename(checkpoints.path_of(step))
    file = checkpoints.path_of(7) / "model.safetensors"  # its header, size and manifest stay as they are
    raw = file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    checkpoints.save(5, *trained(5), wallclock_seconds=0.0)
    assert [path.name[-1] for path in checkpoints.paths()] == ["5", "9"]
    verify_checkpoint(checkpoints.path_of(9))


def test_a_latest_that_is_a_directory_is_told_before_anything_is_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, *trained(0), wallclock_seconds=0.0)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").mkdir()
    for work in (
        lambda: checkpoints.restore(*trained(0)),
        lambda: checkpoints.save(2, *trained(0), wallclock_seconds=0.0),
    ):
        with pytest.raises(ValueError, match=r"latest is a directory, where a file that .*: rename it"):
            work()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]
    (tmp_path / "latest").rmdir()
    (tmp_path / "latest").symlink_to(tmp_path / "step-00000001")  # as other programs have it
    checkpoints.save(2, *trained(0), wallclock_seconds=0.0)
    assert (tmp_path / "latest").read_text() == "step-00000002\n"


def test_a_checkpoint_under_the_name_of_another_step_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(8, *trained(0), wallclock_seconds=0.0)
    shutil.copytree(path, checkpoints.path_of(12))
    restored = checkpoints.restore(*trained(0))
    assert restored is not None and restored.step == 8
    assert "step-00000012/state.json is of step 8, unlike the name of its directory" in caplog.text
    shutil.copytree(path, tmp_path / "the-good-one")  # a name that says nothing of a step
    assert load_weights(tmp_path / "the-good-one", trained(0)[0]).step == 8


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


def test_a_checkpoint_of_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    run = {"tokenizer": "aaaa", "model": {"d_model": 8, "betas": (0.9, 0.95)}, "most": float("inf")}
    Checkpoints(tmp_path, run=run, about={"torch": "2"}).save(1, *trained(0), wallclock_seconds=0.0)
    assert Checkpoints(tmp_path, run=run, about={"torch": "3"}).restore(*trained(0)) is not None
    with pytest.raises(ValueError, match=r'1 is of a run with tokenizer = "aaaa", this one has "b"'):
        Checkpoints(tmp_path, run=run | {"tokenizer": "b"}).restore(*trained(0))
    # For the weights alone, what one knows of the run is compared.
    assert Checkpoints(tmp_path, run={"tokenizer": "aaaa"}).restore_weights(trained(0)[0]) is not None
    choices: tuple[WhichCheckpoint, ...] = ("latest", 1)
    for which in choices:
        with pytest.raises(ValueError, match=r'1 is of a run with tokenizer = "aaaa", this one has "b"'):
            Checkpoints(tmp_path, run={"tokenizer": "b"}).restore_weights(trained(0)[0], which)


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


def test_a_checkpoint_of_another_version_is_neither_used_nor_skipped_nor_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        for module in ("checkpoint_directory", "checkpoint_json"):  # writes, reads
            newer.setattr(f"hornbook.trainer.{module}.VERSION", 9)
        Checkpoints(tmp_path, keep_last=9).save(2, *trained(0), wallclock_seconds=0.0)
    ours = Checkpoints(tmp_path, keep_last=1)
    ours.save(1, *trained(0), wallclock_seconds=0.0)
    said = r"step-00000002/manifest\.json has version 9, this hornbook reads version 2, and it is not damaged"
    with pytest.raises(CheckpointVersionError, match=said) as told:
        ours.restore(*trained(1))
    assert not isinstance(told.value, CheckpointError)
    with pytest.raises(CheckpointVersionError, match=said):
        ours.restore_weights(trained(1)[0])
    for step in (3, 4):  # older than the newest, it stays, whatever is pruned
        ours.save(step, *trained(0), wallclock_seconds=0.0)
    restored = ours.restore(*trained(1))
    assert restored is not None and restored.step == 4
    assert [path.name for path in ours.paths()] == ["step-00000002", "step-00000004"]


def test_a_version_that_only_the_manifest_says_is_damage_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, *trained(0), wallclock_seconds=0.0)
    manifest = tmp_path / "step-00000002" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 2', '"version": 3'))  # one bit
    restored = checkpoints.restore(*trained(1))
    assert restored is not None and restored.step == 1
    assert "manifest.json has version 3, this hornbook reads version 2" in caplog.text
