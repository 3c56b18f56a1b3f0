import math
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.optim import AdamW, Muon, clip_grad_norm_
from hornbook.trainer import (
    CheckpointError,
    Checkpoints,
    CsvSink,
    LoopConfig,
    OtherRankError,
    Parallel,
    SharedCheckpoints,
    StopRequest,
    WeightAverage,
    World,
    evaluate,
    joined_world,
    load_weights,
    parallelize,
    random_windows,
    read_rows,
    train,
)
from hornbook.trainer.checkpoint_directory import SavedCheckpoint
from hornbook.trainer.distributed import asked_for_processes
from hornbook.trainer.shards import shard_names
from many_processes import in_processes

VOCAB_SIZE, WIDTH, CONTEXT_LENGTH, BATCH_SIZE = 11, 6, 8, 8
TOKENS = np.random.default_rng(0).integers(0, VOCAB_SIZE, 500).astype(np.uint16)


POISONED: dict[Parallel, str] = {"ddp": "poisoned-replicas", "fsdp": "poisoned-shards"}


class Block(nn.Module):
    """Its sizes divide by no number of processes, and some are smaller than it."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 13, bias=False)
        self.down = nn.Linear(13, WIDTH)
        self.scale = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x: Tensor) -> Tensor:
        sum_: Tensor = x + self.scale * self.down(torch.tanh(self.up(x)))
        return sum_


class Tiny(nn.Module):
    """A model with tied weights; its loss is not its forward."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.table = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, VOCAB_SIZE, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("constant", torch.ones(WIDTH), persistent=False)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        x = self.dropout(self.table(inputs) * self.constant)
        for layer in self.layers:
            x = layer(x)
        return nn.functional.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())


def optimizer_over(model: Tiny, name: str) -> Optimizer:
    if name == "adamw":
        return AdamW(model.parameters(), 0.02, weight_decay=0.1)
    hidden = [p for n, p in model.named_parameters() if n.startswith("layers") and p.ndim == 2]
    others = [p for n, p in model.named_parameters() if not (n.startswith("layers") and p.ndim == 2)]
    groups: list[dict[str, Any]] = [{"params": hidden}, {"params": others, "algorithm": "adamw"}]
    return Muon(groups, 0.02, dtype=torch.float32, weight_decay=0.1)


def losses_and_norms(world: World, how: Parallel, optimizer_name: str, num_micro: int) -> list[list[float]]:
    """Six steps; of each, the loss of the whole batch and the norm of its gradient before clipping."""
    torch.manual_seed(0)
    model = Tiny().to(world.device)
    spread = parallelize(model, model.loss, world, how, units=model.layers)
    optimizer = optimizer_over(model, optimizer_name)
    rows = world.share_of(BATCH_SIZE)
    batches = random_windows(
        TOKENS, batch_size=BATCH_SIZE, context_length=CONTEXT_LENGTH, device=world.device, seed=3
    )
    numbers = []

    def backward(inputs: Tensor, targets: Tensor) -> Tensor:
        loss = spread.loss(inputs, targets) / num_micro
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    for step in range(1, 7):
        inputs, targets = (t[world.rank * rows : (world.rank + 1) * rows] for t in batches(step))
        *first, last = zip(inputs.chunk(num_micro), targets.chunk(num_micro), strict=True)
        with spread.accumulating():
            losses = [backward(*micro_batch) for micro_batch in first]
        losses.append(backward(*last))
        norm = clip_grad_norm_(model.parameters(), 0.3)
        assert type(norm) is Tensor  # and no shard of one
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        numbers.append(world.mean(torch.stack((torch.stack(losses).sum(), norm))).tolist())
    return numbers


KINDS: list[tuple[Parallel, str, int]] = [
    ("ddp", "adamw", 1),
    ("ddp", "muon", 2),
    ("fsdp", "adamw", 2),
    ("fsdp", "muon", 1),
]


def run_to(
    world: World,
    directory: Path,
    how: Parallel,
    stop_step: int | None = None,
    *,
    dropout: float = 0.0,
    poison_step: int | None = None,
) -> tuple[Tiny, list[list[int]]]:
    """Train to step 12, or be stopped before it: by a signal to the last process, or by its loss.

    Returns:
        The model, and of each step done where its samples begin.
    """
    torch.manual_seed(0)
    model = Tiny(dropout)
    spread = parallelize(model, model.loss, world, how, units=model.layers)
    torch.manual_seed(world.rank)  # for dropout, where there is any
    windows = random_windows(
        TOKENS,
        batch_size=BATCH_SIZE,
        context_length=CONTEXT_LENGTH,
        device="cpu",
        seed=3,
        rank=world.rank,
        world_size=world.size,
    )
    samples: list[list[int]] = []
    stop = StopRequest()

    def rate(step: int) -> float:
        samples.append(windows.starts(step).tolist())
        if step == stop_step and world.rank == world.size - 1:
            stop.signal = signal.SIGTERM
        return 0.02

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        poisoned = len(samples) == poison_step and world.rank == world.size - 1
        return spread.loss(inputs, targets) * (math.nan if poisoned else 1)

    outcome = train(
        LoopConfig(num_steps=12, eval_interval_steps=4, checkpoint_interval_steps=2),
        model=model,
        optimizer=AdamW(model.parameters(), 0.02, weight_decay=0.1),
        schedule=rate,
        batches=windows,
        loss=loss,
        evaluate=lambda _last: evaluate(
            spread.loss,
            TOKENS,
            batch_size=5,
            context_length=CONTEXT_LENGTH,
            token_num_bytes=np.ones(VOCAB_SIZE, np.int64),
            world=world,
        ),
        checkpoints=SharedCheckpoints(Checkpoints(directory / "checkpoints", keep_last=3), world),
        sinks=[CsvSink(directory / "metrics.csv")] if world.is_main else [],
        stop=stop,
        average=WeightAverage(model, 0.5),
        agree=world.mean,
        accumulating=spread.accumulating,
        world_size=world.size,
    )
    assert outcome.step == (stop_step or 12)  # all have stopped there
    return model, samples


def whole_state(model: Tiny) -> dict[str, list[float]]:
    return {name: tensor.flatten().tolist() for name, tensor in model.state_dict().items()}


def told(block: Any) -> str:
    """What goes wrong in a block."""
    try:
        block()
    except (ValueError, ArithmeticError, OtherRankError) as error:
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
        else:
            seen["shards"] = run_to(world, directory / "two-four-one", "fsdp", 8)[1]
            if world.is_main:
                shutil.copytree(directory / "two-four-one", directory / "damaged")
                damage(directory / "damaged" / "checkpoints" / "step-00000008" / shard_names(4)[2])
            world.gather_json(None)
            seen["after damage"] = run_to(world, directory / "damaged", "fsdp")[1]
        return seen


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


@pytest.mark.parametrize("name", POISONED.values())
def test_a_loss_that_is_not_finite_in_one_process_stops_all_before_the_update(
    directory: Path, of_two: list[dict[str, Any]], name: str
) -> None:
    for seen in of_two:
        assert seen[name].startswith("DivergedError: step 6: ")
    assert len(losses_in(directory / name)) == 5
    saved = Checkpoints(directory / name / "checkpoints").paths()
    assert [path.name for path in saved] == ["step-00000002", "step-00000004"]


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_torch_reads_our_shards(directory: Path, of_four: list[dict[str, Any]]) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    path = directory / "two-four-one" / "checkpoints" / "step-00000008"
    (weights,) = SavedCheckpoint(path).read("model")
    assert "head.weight" not in weights  # it is table.weight
    ours = {f"model.{name}": tensor for name, tensor in weights.items()}
    theirs = {name: torch.zeros_like(tensor) for name, tensor in ours.items()}
    load(theirs, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=True)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())


def test_a_batch_that_cannot_be_shared_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be a multiple .* got 6 and 4: take 4 or 8, or"):
        World(size=4).share_of(6)
    with pytest.raises(ValueError, match="got 3 and 4: take 4, or"):
        World(size=4).share_of(3)


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0"},
        {"RANK": "4", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
        {"RANK": "x", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
    ],
)
def test_a_place_that_is_none_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"the environment names no place .*RANK=.*start them with torchrun"):
        asked_for_processes(environment)


@pytest.mark.parametrize(
    ("device", "reason"), [("mps", "need the device cpu or cuda"), ("cuda:1", "takes the GPU")]
)
def test_a_device_that_cannot_be_shared_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, reason: str
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason), joined_world(device):
        pass


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="wants two GPUs")
def test_two_gpus_have_the_losses_of_one() -> None:
    seen = in_processes(2, on_gpus)
    np.testing.assert_allclose(seen[0], seen[1], rtol=0, atol=0)
    np.testing.assert_allclose(seen[0], [losses_and_norms(World(), *kind) for kind in KINDS], atol=1e-4)


def on_gpus() -> list[list[list[float]]]:
    with joined_world("cuda") as world:
        return [losses_and_norms(world, *kind) for kind in KINDS]
