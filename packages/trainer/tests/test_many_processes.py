from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.optim import AdamW, Muon, clip_grad_norm_
from hornbook.trainer import OtherRankError, Parallel, World, joined_world, parallelize, random_windows
from hornbook.trainer.distributed import asked_for_processes
from hornbook.trainer.shards import SHARD_FILE, read_shards, shapes_in_shards, write_shards
from many_processes import in_processes

VOCAB_SIZE, WIDTH, CONTEXT_LENGTH, BATCH_SIZE = 11, 6, 8, 8
TOKENS = np.random.default_rng(0).integers(0, VOCAB_SIZE, 500).astype(np.uint16)


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

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, VOCAB_SIZE, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("constant", torch.ones(WIDTH), persistent=False)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        x = self.table(inputs) * self.constant
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


def sharded_state(model: Tiny) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}


def seen_by_each(directory: Path, write: bool) -> dict[str, Any]:
    """All that is asked of processes, in one go: to start them costs most of the time."""
    with joined_world("cpu") as world:
        seen: dict[str, Any] = {"place": (world.rank, world.size)}
        seen["numbers"] = [losses_and_norms(world, *kind) for kind in KINDS]
        seen["json"] = world.gather_json({"rank": world.rank, "text": "é" * world.rank})
        seen["main"] = world.on_main(lambda: world.rank * 10 + 1)

        def fail() -> None:
            msg = "no text there"
            raise ValueError(msg)

        errors: list[str] = []
        blocks: list[Any] = [
            lambda: world.on_main(fail),
            lambda: together(world, fail if world.rank == 1 else None),
        ]
        for block in blocks:
            try:
                block()
            except (ValueError, OtherRankError) as error:
                errors.append(f"{type(error).__name__}: {error}")
        seen["errors"] = errors

        torch.manual_seed(5 if write else 6)
        model = Tiny()
        parallelize(model, model.loss, world, "fsdp", units=model.layers)
        own = {f"own.{world.rank}": torch.full((3,), world.rank)}
        if write:
            write_shards(directory, sharded_state(model) | own | {"copy": torch.arange(4.0)})
            world.gather_json(None)
            seen["files"] = sorted(path.name for path in directory.iterdir())
        else:
            state: dict[str, Any] = sharded_state(model)  # DTensors
            read_shards(directory, state, alone=False)
            seen["read"] = {name: tensor.full_tensor().tolist() for name, tensor in state.items()}
        return seen


def together(world: World, block: Any) -> None:
    with world.together():
        if block:
            block()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def of_four(shards: Path) -> list[dict[str, Any]]:
    return in_processes(4, seen_by_each, shards, True)


@pytest.fixture(scope="module")
def of_two(shards: Path, of_four: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return in_processes(2, seen_by_each, shards, False)


@pytest.fixture(scope="module", params=[2, 4])
def of_several(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = request.getfixturevalue({2: "of_two", 4: "of_four"}[request.param])
    return seen


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


def test_shards_of_four_are_read_by_two_and_by_one_to_the_same_bits(
    shards: Path, of_four: list[dict[str, Any]], of_two: list[dict[str, Any]]
) -> None:
    torch.manual_seed(5)
    wanted = sharded_state(Tiny())
    for seen in of_two:
        assert seen["read"] == {name: tensor.tolist() for name, tensor in wanted.items()}
    torch.manual_seed(7)
    model = Tiny()
    more = {"copy": torch.zeros(4)} | {f"own.{rank}": torch.zeros(3, dtype=torch.int64) for rank in range(4)}
    read_shards(shards, sharded_state(model) | more, alone=True)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in sharded_state(model).items())
    assert more["copy"].tolist() == [0, 1, 2, 3]
    assert [more[f"own.{rank}"].tolist() for rank in range(4)] == [[rank] * 3 for rank in range(4)]


def test_shards_are_safetensors_alone_and_tell_the_shapes_of_the_whole(
    shards: Path, of_four: list[dict[str, Any]]
) -> None:
    files = of_four[0]["files"]
    assert len(files) == 4 and all(SHARD_FILE.fullmatch(name) for name in files)
    shapes = shapes_in_shards(shards)
    assert {name: shapes[name] for name in sharded_state(Tiny())} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in sharded_state(Tiny()).items()
    }


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
