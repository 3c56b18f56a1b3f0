"""What the loop costs beside the model: overhead of a step, the loader, and the way back to a step.

uv run benchmarks/bench_loop.py [--steps 4] [--batches 200000]
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Sequential

from common import print_machine
from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.optim import AdamW, decay_groups
from hornbook.trainer import (
    Checkpoints,
    CsvSink,
    Evaluation,
    JsonLinesSink,
    LoopConfig,
    Progress,
    Row,
    TokenFile,
    epoch_windows,
    open_token_file,
    random_windows,
    train,
    write_token_file,
)

CONTEXT_LENGTH, PRESET_BATCH_SIZE, BATCH_SIZE = 256, 32, 4
VOCAB_SIZE = 10_000


class Stopwatch:
    """Adds up the time spent in functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def run(*arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **more)
            finally:
                self.seconds += time.perf_counter() - began

        return run


class StepTimes:
    """A sink that notes when each step was done, and how much of it the model took."""

    def __init__(self, model: Stopwatch) -> None:
        self.model = model
        self.times: list[tuple[float, float]] = []

    def start(self, step: int) -> None:
        """Nothing."""

    def log(self, row: Row) -> None:  # noqa: ARG002
        """Look at both clocks."""
        self.times.append((time.perf_counter(), self.model.seconds))

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def nothing(_last: bool) -> Evaluation:
    return Evaluation(loss=1.0, bits_per_byte=1.0, num_tokens=1, num_windows=1, num_windows_in_all=1)


def measure_overhead(tokens: TokenFile, directory: Path, num_steps: int) -> float:
    """Print the share of a step that is not forward, backward or optimizer; return tokens a second."""
    torch.manual_seed(0)
    model = TransformerLM(
        TransformerConfig(
            vocab_size=VOCAB_SIZE,
            context_length=CONTEXT_LENGTH,
            num_layers=4,
            d_model=512,
            num_heads=16,
            d_ff=1344,
        )
    )
    optimizer = AdamW(decay_groups(model, 0.1), 1e-3)
    watch = Stopwatch()
    step_times = StepTimes(watch)
    with (
        patch.object(Tensor, "backward", watch.timed(Tensor.backward)),
        patch.object(optimizer, "step", watch.timed(optimizer.step)),
    ):
        train(
            LoopConfig(num_steps=num_steps, eval_interval_steps=10**9, checkpoint_interval_steps=10**9),
            model=model,
            optimizer=optimizer,
            schedule=lambda _step: 1e-3,
            batches=random_windows(
                tokens.tokens,
                batch_size=PRESET_BATCH_SIZE,
                context_length=CONTEXT_LENGTH,
                device="cpu",
                seed=0,
            ),
            loss=watch.timed(model.loss),
            evaluate=nothing,
            checkpoints=Checkpoints(directory / "overhead"),
            sinks=[step_times, CsvSink(directory / "m.csv"), JsonLinesSink(directory / "m.jsonl")],
        )
    pairs = list(zip(step_times.times, step_times.times[1:], strict=False))
    whole = [end[0] - begin[0] for begin, end in pairs]
    rest = [step - (end[1] - begin[1]) for step, (begin, end) in zip(whole, pairs, strict=True)]
    shares = sorted(100 * part / step for part, step in zip(rest, whole, strict=True))
    per_second = PRESET_BATCH_SIZE * CONTEXT_LENGTH / median(whole)
    print(
        f"overhead of the loop, clipping included: {median(shares):.2f} % of a step of {median(whole):.3f} s "
        f"({shares[0]:.2f} to {shares[-1]:.2f}), {1e3 * median(rest):.1f} ms; {per_second:,.0f} tokens/s"
    )
    return per_second


def measure_loader(tokens: TokenFile, consumed_per_second: float, num_batches: int) -> None:
    """Print the loader's rate over the model's, and what it does to memory."""
    for name, windows, batches_to_draw in (
        ("random_windows", random_windows, num_batches),
        ("epoch_windows", epoch_windows, num_batches // 4),
    ):
        batches = windows(
            tokens.tokens, batch_size=BATCH_SIZE, context_length=CONTEXT_LENGTH, device="cpu", seed=0
        )
        for step in range(batches_to_draw // 10):  # touches most of the file
            batches(step + 1)
        before, began = resident_bytes(), time.perf_counter()
        for step in range(batches_to_draw):
            batches(step + 1)
        seconds = time.perf_counter() - began
        rate = batches_to_draw * BATCH_SIZE * CONTEXT_LENGTH / seconds
        print(
            f"{name}: {rate:,.0f} tokens/s, {rate / consumed_per_second:,.0f} times the model's; "
            f"resident memory {before / 1e6:.1f} MB, {batches_to_draw:,} batches later "
            f"{resident_bytes() / 1e6:.1f} MB"
        )


def resident_bytes() -> int:
    """Memory of this process that is in RAM, mapped files included (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure_opening(directory: Path) -> None:
    """Print how long it takes to open a sparse file of 100 GB and draw a batch from it."""
    path = directory / "huge.bin"
    write_token_file(path, [np.zeros(1, np.uint16)], vocab_size=VOCAB_SIZE, tokenizer="t", text="x")
    manifest = path.with_name("huge.bin.json")
    described = json.loads(manifest.read_text())
    described["num_tokens"] = 50_000_000_000
    manifest.write_text(json.dumps(described))
    os.truncate(path, 100_000_000_000)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        tokens = open_token_file(path, vocab_size=VOCAB_SIZE, verify="never").tokens
        random_windows(tokens, batch_size=BATCH_SIZE, context_length=CONTEXT_LENGTH, device="cpu", seed=0)(1)
        times.append(time.perf_counter() - began)
    print(f"opening 100 GB and drawing a batch: {1e3 * median(times):.2f} ms")


def measure_resuming(tokens: TokenFile, directory: Path) -> None:
    """Print the time from calling `train` to the end of the next step, at two steps."""
    times: dict[int, list[float]] = {10: [], 1_000_000: []}
    for attempt in range(9):
        for step, taken in times.items():
            model = Sequential(Embedding(VOCAB_SIZE, 16), Linear(16, VOCAB_SIZE))
            optimizer = AdamW(model.parameters(), 1e-3)
            checkpoints = Checkpoints(directory / f"resume-{step}-{attempt}")
            progress = Progress(step=step, tokens=step * BATCH_SIZE * CONTEXT_LENGTH)
            extra = {"progress": progress.state(), "loss_scale": {"value": 1.0, "good_steps": 0}}
            checkpoints.save(step, model, optimizer, wallclock_seconds=1.0, extra=extra)
            sink = StepTimes(Stopwatch())
            began = time.perf_counter()
            train(
                LoopConfig(num_steps=step + 1, eval_interval_steps=10**9, checkpoint_interval_steps=10**9),
                model=model,
                optimizer=optimizer,
                schedule=lambda _step: 1e-3,
                batches=epoch_windows(
                    tokens.tokens, batch_size=BATCH_SIZE, context_length=8, device="cpu", seed=0
                ),
                loss=lambda inputs, targets, model=model: torch.nn.functional.cross_entropy(  # type: ignore[misc]
                    model(inputs).flatten(0, 1), targets.flatten()
                ),
                evaluate=nothing,
                checkpoints=checkpoints,
                sinks=[sink],
            )
            taken.append(sink.times[0][0] - began)
    early, late = (median(taken[2:]) for taken in times.values())
    print(
        f"resuming, to the end of the next step: {1e3 * early:.1f} ms at step 10, {1e3 * late:.1f} ms at "
        f"step 1,000,000, ratio {late / early:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batches", type=int, default=200_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        measure_opening(directory)
        path = directory / "tokens.bin"
        generator = np.random.default_rng(0)
        chunks = (generator.integers(0, VOCAB_SIZE, 10**6) for _ in range(50))  # 100 MB
        write_token_file(path, chunks, vocab_size=VOCAB_SIZE, tokenizer="t", text="x")
        tokens = open_token_file(path)
        measure_resuming(tokens, directory)
        consumed = measure_overhead(tokens, directory, arguments.steps)
        measure_loader(tokens, consumed, arguments.batches)


if __name__ == "__main__":
    main()
