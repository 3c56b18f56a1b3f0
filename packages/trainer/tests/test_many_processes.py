import errno
import os
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load

from hornbook.optim import AdamW
from hornbook.trainer import (
    CheckpointError,
    Checkpoints,
    OtherRankError,
    Parallel,
    SharedCheckpoints,
    World,
    joined_world,
    load_weights,
    parallelize,
    read_rows,
    shared_checkpoints,
)
from hornbook.trainer.checkpoint_directory import SavedCheckpoint, write_files
from hornbook.trainer.shards import shard_names
from hornbook.trainer.state import HostBuffers
from many_processes import in_processes
from tiny_parallel import KINDS, Tiny, losses_and_norms, run_to

POISONED: dict[Parallel, str] = {"ddp": "poisoned-replicas", "fsdp": "poisoned-shards"}


def whole_state(model: Tiny) -> dict[str, list[float]]:
    return {name: tensor.flatten().tolist() for name, tensor in model.state_dict().items()}


def told(block: Any) -> str:
    """What goes wrong in a block."""
    try:
        block()
    except (ValueError, ArithmeticError, OSError, OtherRankError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def seen_by_each(directory: Path) -> dict[str, Any]:
    """All that is asked of processes, in one go: to start them costs most of the time."""
    with joined_world("cpu") as world:
        seen: dict[str, Any] = {"place": (world.rank, world.size)}
        seen["numbers"] = [losses_and_norms(world, *kind) for kind in KINDS]
        seen["json"] = world.gather_json({"rank": world.rank, "text": "é" * world.rank})
        seen["main"] = world.on_main(lambda: world.rank * 10 + 1)

        def fail() -> None:
            msg = "no text there"
            raise ValueError(msg)

        def fail_together() -> None:
            with world.together():
                if world.rank == 1:
                    fail()

        seen["errors"] = [told(lambda: world.on_main(fail)), told(fail_together)]
        if world.size == 2:
            seen["replicas"] = run_to(world, directory / "one-two-one", "ddp", 8)[1]
            seen["shards"] = run_to(world, directory / "two-four-one", "fsdp", 4)[1]
            straight, _ = run_to(world, directory / "straight", "ddp", dropout=0.3)
            run_to(world, directory / "stopped", "ddp", 5, dropout=0.3)
            resumed, _ = run_to(world, directory / "stopped", "ddp", dropout=0.3)
            for how in POISONED:
                run = partial(run_to, world, directory / POISONED[how], how, poison_step=6)
                seen[POISONED[how]] = told(run)
            seen["bits"] = (whole_state(straight), whole_state(resumed))
            with pytest.MonkeyPatch.context() as monkeypatch:
                seen["shards in a thread"] = shards_in_a_thread(world, directory / "in-a-thread", monkeypatch)
        else:
            seen["shards"] = run_to(world, directory / "two-four-one", "fsdp", 8)[1]
            two = directory / "two-four-one" / "checkpoints" / "step-00000004"
            seen["two processes' shards"] = (read_by_us(two), read_by_torch(world, two))
            if world.is_main:
                shutil.copytree(directory / "two-four-one", directory / "damaged")
                damage(directory / "damaged" / "checkpoints" / "step-00000008" / shard_names(4)[2])
            world.gather_json(None)
            seen["after damage"] = run_to(world, directory / "damaged", "fsdp", asynchronous=False)[1]
        return seen


def shards_in_a_thread(world: World, directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Save, train on, let the disk have it; save while the disk of one process is full, once, then twice."""
    model = Tiny()
    parallelize(model, model.loss, world, "fsdp", units=model.layers)
    optimizer = AdamW(model.parameters(), 0.02)
    checkpoints = SharedCheckpoints(Checkpoints(directory, asynchronous=True), world)
    disk, update = threading.Event(), threading.Event()
    copied = HostBuffers.copy

    def copy(self: HostBuffers, tensors: Any, *, num_threads: int) -> Any:
        if num_threads == 1 and threading.current_thread() is not threading.main_thread():
            assert update.wait(60)  # as late as can be
        return copied(self, tensors, num_threads=num_threads)

    monkeypatch.setattr(HostBuffers, "copy", copy)

    def write(aside: Path, files: Any) -> Any:
        disk.wait()
        if aside.name[1:14] in ("step-00000002", "step-00000004", "step-00000005") and world.rank == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_files(aside, files)

    def save(step: int) -> str:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(step)
        saved = told(
            lambda: checkpoints.save(step, model, optimizer, wallclock_seconds=1, until_update=step % 2 == 1)
        )
        update.set()
        checkpoints.before_update()
        update.clear()
        return saved

    monkeypatch.setattr(shared_checkpoints, "write_files", write)
    seen: dict[str, Any] = {"first": save(1)}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    seen["early"] = (directory / "step-00000001").exists()
    disk.set()
    seen["rest"] = [save(step) for step in (2, 3, 4, 5)]
    seen["two in a row"] = save(6)
    world.gather_json(None)
    seen["there"] = sorted(path.name for path in directory.iterdir())
    seen["again"] = save(6)
    checkpoints.wait()
    return seen


def read_by_us(checkpoint: Path) -> dict[str, Any]:
    (weights,) = SavedCheckpoint(checkpoint).read("model")
    return {f"model.{name}": tensor.tolist() for name, tensor in weights.items()}


def read_by_torch(world: World, checkpoint: Path) -> dict[str, Any]:
    """Read into this world's shards."""
    model = Tiny()
    parallelize(model, model.loss, world, "fsdp", units=model.layers)
    state = {f"model.{name}": t for name, t in model.state_dict().items() if name != "head.weight"}
    load(state, storage_reader=HuggingFaceStorageReader(str(checkpoint)))
    return {name: tensor.full_tensor().tolist() for name, tensor in state.items()}


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    for name in ("alone", "one-two-one", "two-four-one", "straight", "stopped", *POISONED.values()):
        (directory / name).mkdir()
    return directory


@pytest.fixture(scope="module")
def alone(directory: Path) -> tuple[Tiny, list[list[int]], list[float]]:
    """The run that one process does without a stop: its model, samples, losses."""
    model, samples = run_to(World(), directory / "alone", "ddp")
    return model, samples, losses_in(directory / "alone")


@pytest.fixture(scope="module")
def of_two(directory: Path) -> list[dict[str, Any]]:
    run_to(World(), directory / "one-two-one", "ddp", 4)
    return in_processes(2, seen_by_each, directory)


@pytest.fixture(scope="module")
def of_four(directory: Path, of_two: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return in_processes(4, seen_by_each, directory)


@pytest.fixture(scope="module", params=[2, 4])
def of_several(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = request.getfixturevalue({2: "of_two", 4: "of_four"}[request.param])
    return seen


def losses_in(run: Path) -> list[float]:
    return [float(row[1]) for row in read_rows(run / "metrics.csv")]


def of_all_ranks(samples: list[list[list[int]]]) -> list[list[int]]:
    """The samples of each step, put together by rank."""
    return [[start for part in parts for start in part] for parts in zip(*samples, strict=True)]


def test_one_two_and_four_processes_have_the_same_losses_and_gradient_norms(
    of_several: list[dict[str, Any]],
) -> None:
    for index, kind in enumerate(KINDS):
        alone = losses_and_norms(World(), *kind)
        for seen in of_several:
            np.testing.assert_allclose(seen["numbers"][index], alone, rtol=0, atol=1e-5, err_msg=str(kind))


def test_each_process_knows_its_place_and_hears_of_all(of_several: list[dict[str, Any]]) -> None:
    size = len(of_several)
    assert [seen["place"] for seen in of_several] == [(rank, size) for rank in range(size)]
    for seen in of_several:
        assert seen["json"] == [{"rank": rank, "text": "é" * rank} for rank in range(size)]
        assert seen["main"] == 1


def test_what_fails_in_one_process_fails_in_all(of_several: list[dict[str, Any]]) -> None:
    own = "ValueError: no text there"
    for rank, seen in enumerate(of_several):
        assert seen["errors"] == [
            own if rank == 0 else "OtherRankError: rank 0 has failed",
            own if rank == 1 else "OtherRankError: another process has failed",
        ]


@pytest.mark.fault("one, two, then one process: the samples of one, losses within 1e-5")
def test_a_run_of_one_then_two_then_one_process_has_the_samples_and_losses_of_one(
    directory: Path, alone: tuple[Tiny, list[list[int]], list[float]], of_two: list[dict[str, Any]]
) -> None:
    _, samples, losses = alone
    assert of_all_ranks([seen["replicas"] for seen in of_two]) == samples[4:8]
    _, last = run_to(World(), directory / "one-two-one", "ddp")
    assert last == samples[8:]
    np.testing.assert_allclose(losses_in(directory / "one-two-one"), losses, rtol=0, atol=1e-5)


def test_shards_of_two_processes_go_on_with_four_and_then_with_one(
    directory: Path,
    alone: tuple[Tiny, list[list[int]], list[float]],
    of_two: list[dict[str, Any]],
    of_four: list[dict[str, Any]],
) -> None:
    model, samples, losses = alone
    assert of_all_ranks([seen["shards"] for seen in of_two]) == samples[:4]
    assert of_all_ranks([seen["shards"] for seen in of_four]) == samples[4:8]
    run = directory / "two-four-one"
    names = [path.name for path in (run / "checkpoints" / "step-00000008").iterdir()]
    assert sorted(names) == ["manifest.json", *shard_names(4), "state.json"]
    opened = Tiny()
    restored = Checkpoints(run / "checkpoints").restore_weights(opened)  # as for export and generation
    assert restored is not None and restored.step == 8
    for name, parameter in opened.named_parameters():  # the average, since there is one
        assert torch.equal(parameter, restored.extra_tensors[f"average.{name}"])
    last_model, last = run_to(World(), run, "ddp")
    assert last == samples[8:]
    np.testing.assert_allclose(losses_in(run), losses, rtol=0, atol=1e-5)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(last_model.state_dict()[name], tensor, rtol=0, atol=1e-4)


def test_a_damaged_shard_is_named_and_the_checkpoint_before_it_used(
    directory: Path, alone: tuple[Tiny, list[list[int]], list[float]], of_four: list[dict[str, Any]]
) -> None:
    # The processes went on from step 6, since that of step 8 was damaged, and wrote it anew.
    assert of_all_ranks([seen["after damage"] for seen in of_four]) == alone[1][6:]
    np.testing.assert_allclose(losses_in(directory / "damaged"), alone[2], rtol=0, atol=1e-5)
    path = directory / "damaged" / "checkpoints" / "step-00000012"
    damage(path / shard_names(4)[0])
    with pytest.raises(CheckpointError, match=r"shard-00001-of-00004.safetensors has changed since"):
        load_weights(path, Tiny())
    (path / shard_names(4)[0]).unlink()
    with pytest.raises(CheckpointError, match=r"shard-00001-of-00004.safetensors is missing"):
        load_weights(path, Tiny())


def test_replicas_that_were_stopped_and_go_on_have_the_bits_of_those_never_stopped(
    of_two: list[dict[str, Any]],
) -> None:
    for seen in of_two:  # with dropout: each process has its own random numbers
        straight, resumed = seen["bits"]
        assert straight == resumed == of_two[0]["bits"][0]


def test_shards_are_copied_and_a_thread_writes_them_and_one_failure_ends_no_run_but_two_in_a_row(
    directory: Path, of_two: list[dict[str, Any]]
) -> None:
    run = directory / "in-a-thread"
    for rank, seen in enumerate(of_two):
        seen = seen["shards in a thread"]
        assert {seen["first"], seen["again"], *seen["rest"]} == {"nothing"}
        assert not seen["early"]
        shard = run / "step-00000005" / shard_names(2)[1]
        full = f"OSError: [Errno {errno.ENOSPC}] no room to write {shard}"
        other = "OtherRankError: another process has failed"
        assert seen["two in a row"].startswith(other if rank == 0 else full)
        assert seen["there"] == ["latest", "step-00000001", "step-00000003"]
    for step in (3, 6):
        saved = Tiny()
        load_weights(run / f"step-{step:08d}", saved)
        assert all(torch.all(parameter == step) for parameter in saved.parameters())


@pytest.mark.parametrize("name", POISONED.values())
def test_a_loss_that_is_not_finite_in_one_process_stops_all_before_the_update(
    directory: Path, of_two: list[dict[str, Any]], name: str
) -> None:
    for seen in of_two:
        assert seen[name].startswith("DivergedError: step 6: ")
    assert len(losses_in(directory / name)) == 5
    saved = Checkpoints(directory / name / "checkpoints").paths()
    assert [path.name for path in saved] == ["step-00000002", "step-00000004"]


def test_torch_reads_the_shards_of_two_processes_into_those_of_four(of_four: list[dict[str, Any]]) -> None:
    for seen in of_four:
        by_us, by_torch = seen["two processes' shards"]
        assert "model.head.weight" not in by_us  # it is table.weight
        assert by_torch == by_us


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="wants two GPUs")
def test_two_gpus_have_the_losses_of_one() -> None:
    seen = in_processes(2, on_gpus)
    np.testing.assert_allclose(seen[0], seen[1], rtol=0, atol=0)
    np.testing.assert_allclose(seen[0], [losses_and_norms(World(), *kind) for kind in KINDS], atol=1e-4)


def on_gpus() -> list[list[list[float]]]:
    with joined_world("cuda") as world:
        return [losses_and_norms(world, *kind) for kind in KINDS]
