"""A run small enough for a test: a bigram model, trained here or in a process that gets killed.

python tiny_run.py DIRECTORY [NUM_STEPS]
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hornbook.optim import AdamW, Muon, cosine_schedule, muon_groups
from hornbook.trainer import (
    COLUMNS,
    TIMED_COLUMNS,
    Checkpoints,
    CsvSink,
    Evaluation,
    LoopConfig,
    Loss,
    Outcome,
    Row,
    Sink,
    StopRequest,
    evaluate,
    random_windows,
    read_rows,
    seed_everything,
    stop_on_signals,
    train,
)

VOCAB_SIZE, CONTEXT_LENGTH = 11, 8
TOKENS = np.random.default_rng(0).integers(0, VOCAB_SIZE, 500).astype(np.uint16)


class Bigram(nn.Module):
    """Predicts a token from the one before; dropout makes it depend on torch's random generator."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCAB_SIZE, 16)
        self.head = nn.Linear(16, VOCAB_SIZE)
        self.dropout = nn.Dropout(0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.table(inputs)))
        return logits


def adamw(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), 0.01)


def muon(model: nn.Module) -> Optimizer:
    return Muon(muon_groups(model, 0.1, not_hidden=["table"]), 0.01)


def bigram_loss(model: nn.Module) -> Loss:
    """Mean cross-entropy under the model."""

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    return loss


def run_in(
    directory: Path,
    *,
    num_steps: int = 40,
    sinks: Sequence[Sink] = (),
    checkpoint_interval_steps: int = 7,
    loop: Mapping[str, Any] = MappingProxyType({}),
    make_optimizer: Callable[[nn.Module], Optimizer] = adamw,
    make_loss: Callable[[nn.Module], Loss] = bigram_loss,
    make_parts: Callable[[nn.Module], Mapping[str, Any]] = lambda model: {},
    device: str = "cpu",
    **parts: Any,
) -> tuple[Outcome, Bigram]:
    """Train in a directory, from its newest checkpoint if it has one.

    `loop` has more fields of LoopConfig; `parts`, and `make_parts` from the model, more arguments of `train`.
    """
    directory.mkdir(exist_ok=True)
    seed_everything(1)
    torch.set_num_threads(1)
    model = Bigram().to(device)
    loss = make_loss(model)
    config: dict[str, Any] = {
        "num_steps": num_steps,
        "eval_interval_steps": 10,
        "checkpoint_interval_steps": checkpoint_interval_steps,
        **loop,
    }
    usual: dict[str, Any] = {
        "model": model,
        "optimizer": make_optimizer(model),
        "schedule": cosine_schedule(max_lr=0.01, min_lr=0.001, warmup_steps=5, cosine_steps=num_steps),
        "batches": random_windows(TOKENS, batch_size=4, context_length=CONTEXT_LENGTH, device=device, seed=3),
        "loss": loss,
        "evaluate": lambda _last: evaluate(
            loss,
            TOKENS,
            batch_size=4,
            context_length=CONTEXT_LENGTH,
            token_num_bytes=np.ones(VOCAB_SIZE, np.int64),
            device=device,
        ),
        "checkpoints": Checkpoints(directory / "checkpoints"),
        "sinks": [CsvSink(directory / "metrics.csv"), *sinks],
    }
    outcome = train(LoopConfig(**config), **(usual | parts | dict(make_parts(model))))
    return outcome, model


def same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def untimed_rows(directory: Path) -> list[list[str]]:
    """The rows of a run without what a clock put into them."""
    return [
        [value for name, value in zip(COLUMNS, row, strict=True) if name not in TIMED_COLUMNS]
        for row in read_rows(directory / "metrics.csv")
    ]


class StopAfter:
    """A sink that asks for a stop when a step is logged, as a signal would."""

    def __init__(self, request: StopRequest, step: int) -> None:
        self.request, self.step = request, step
        self.closed = False

    def start(self, step: int) -> None: ...

    def log(self, row: Row) -> None:
        if row.step == self.step:
            self.request.signal = signal.SIGINT

    def evaluated(self, step: int, evaluation: Evaluation) -> None: ...

    def close(self) -> None:
        self.closed = True


class Announce:
    """Tells a parent process that a step is done, and waits for its word."""

    def start(self, step: int) -> None: ...

    def log(self, row: Any) -> None:
        os.write(1, f"{row.step}\n".encode())
        if not os.read(0, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def evaluated(self, step: int, evaluation: Any) -> None: ...

    def close(self) -> None: ...


if __name__ == "__main__":
    with stop_on_signals() as stop:
        run_in(Path(sys.argv[1]), stop=stop, sinks=[Announce()])
    sys.exit(stop.exit_code)
