"""A run small enough for a test: a bigram model, trained here or in a process that gets killed.

python tiny_run.py DIRECTORY [NUM_STEPS]
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hornbook.optim import AdamW, cosine_schedule
from hornbook.trainer import (
    Checkpoints,
    CsvSink,
    LoopConfig,
    Outcome,
    Sink,
    evaluate,
    random_windows,
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


def run_in(
    directory: Path,
    *,
    num_steps: int = 40,
    sinks: Sequence[Sink] = (),
    checkpoint_interval_steps: int = 7,
    poison_step: int | None = None,
    **more: Any,
) -> tuple[Outcome, Bigram]:
    """Train in a directory, from its newest checkpoint if it has one."""
    directory.mkdir(exist_ok=True)
    seed_everything(1)
    torch.set_num_threads(1)
    model = Bigram()
    optimizer = AdamW(model.parameters(), 0.01)
    calls = 0

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += model.training
        value = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        return value * float("nan") if calls == poison_step and model.training else value

    outcome = train(
        LoopConfig(
            num_steps=num_steps,
            eval_interval_steps=10,
            checkpoint_interval_steps=checkpoint_interval_steps,
        ),
        model=model,
        optimizer=optimizer,
        schedule=cosine_schedule(max_lr=0.01, min_lr=0.001, warmup_steps=5, cosine_steps=num_steps),
        batches=random_windows(TOKENS, batch_size=4, context_length=CONTEXT_LENGTH, device="cpu", seed=3),
        loss=loss,
        evaluate=lambda _last: evaluate(
            loss,
            TOKENS,
            batch_size=4,
            context_length=CONTEXT_LENGTH,
            token_num_bytes=np.ones(VOCAB_SIZE, np.int64),
        ),
        checkpoints=Checkpoints(directory / "checkpoints"),
        sinks=[CsvSink(directory / "metrics.csv"), *sinks],
        **more,
    )
    return outcome, model


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
