"""A small model with tied weights, in one process or several: its losses, and a run of it."""

import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.optim import AdamW, Muon, clip_grad_norm_
from hornbook.trainer import (
    Checkpoints,
    CsvSink,
    LoopConfig,
    Parallel,
    SharedCheckpoints,
    StopRequest,
    WeightAverage,
    World,
    evaluate,
    parallelize,
    random_windows,
    train,
)

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
    asynchronous: bool = True,
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
        checkpoints=SharedCheckpoints(
            Checkpoints(directory / "checkpoints", keep_last=3, asynchronous=asynchronous), world
        ),
        sinks=[CsvSink(directory / "metrics.csv")] if world.is_main else [],
        stop=stop,
        average=WeightAverage(model, 0.5),
        agree=world.mean,
        accumulating=spread.accumulating,
        world_size=world.size,
    )
    assert outcome.step == (stop_step or 12)  # all have stopped there
    return model, samples
