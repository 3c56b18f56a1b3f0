"""Stopping and going on gives the bits of a run that never stopped, whatever the run is made of."""

import json
from collections.abc import Mapping
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hornbook.trainer import (
    Loss,
    LossScale,
    Precision,
    StopRequest,
    WeightAverage,
    autocast,
    compiled,
    deterministic,
    epoch_windows,
    random_windows,
)
from tiny_run import (
    CONTEXT_LENGTH,
    TOKENS,
    StopAfter,
    adamw,
    bigram_loss,
    muon,
    run_in,
    same_bits,
    untimed_rows,
)

# 40 windows, 4 a step: an epoch has 10 steps. Evaluations are at 7, 14 … and checkpoints at 9, 18 …
DATA = TOKENS[: 40 * CONTEXT_LENGTH + 1]
BORDERS = {"in an epoch": 13, "at the end of an epoch": 20, "where an evaluation is due": 14}
CELLS = [
    (*cell, border, dropout)
    for cell, border, dropout in zip(
        product(("windows", "epochs"), (None, 1), ("adamw", "muon"), ("fp32", "bf16")),
        cycle(BORDERS),
        cycle((0.1, 0.1, 0.0)),
        strict=False,
    )
]


def stopped_and_straight(
    directory: Path,
    *,
    shuffle: str,
    micro_batch_size: int | None,
    optimizer: str,
    precision: Precision,
    border: str,
    dropout: float = 0.1,
    compile: bool = False,  # noqa: A002
    device: str = "cpu",
) -> None:
    def make_loss(model: nn.Module) -> Loss:
        model.get_submodule("dropout").p = dropout  # type: ignore[assignment]
        loss = autocast(bigram_loss(model), torch.device(device), precision)
        return compiled(loss) if compile else loss

    def make_parts(model: nn.Module) -> Mapping[str, Any]:
        return {
            "average": WeightAverage(model, 0.9),
            "loss_scale": LossScale(64.0, growth_interval_steps=8) if precision == "fp16" else None,
        }

    batches = {"windows": random_windows, "epochs": epoch_windows}[shuffle](
        DATA, batch_size=4, context_length=CONTEXT_LENGTH, device=device, seed=3
    )
    settings: dict[str, Any] = {
        "num_steps": 24,
        "checkpoint_interval_steps": 9,
        "loop": {"eval_interval_steps": 7, "micro_batch_size": micro_batch_size},
        "make_optimizer": {"adamw": adamw, "muon": muon}[optimizer],
        "make_loss": make_loss,
        "make_parts": make_parts,
        "batches": batches,
        "device": device,
    }
    straight, whole = run_in(directory / "straight", **settings)
    stop = StopRequest()
    sink = StopAfter(stop, BORDERS[border])
    stopped, _ = run_in(directory / "stopped", stop=stop, sinks=[sink], **settings)
    assert (stopped.step, stopped.finished) == (BORDERS[border], False)
    resumed, again = run_in(directory / "stopped", **settings)
    assert same_bits(whole.state_dict(), again.state_dict())
    assert straight.evaluation == resumed.evaluation is not None
    assert straight.progress == resumed.progress
    assert untimed_rows(directory / "straight") == untimed_rows(directory / "stopped")
    states = [
        json.loads((directory / run / "checkpoints" / "step-00000024" / "state.json").read_text())
        for run in ("straight", "stopped")
    ]
    assert states[0]["extra"] == states[1]["extra"]  # counters, and the factor of float16
    # Moments, random generators and the average are in files of their own.
    for name in ("model.safetensors", "training.safetensors", "extra.safetensors"):
        files = [directory / run / "checkpoints" / "step-00000024" / name for run in ("straight", "stopped")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.fault("resumed, 16 cells: same bits")
@pytest.mark.parametrize(
    ("shuffle", "micro_batch_size", "optimizer", "precision", "border", "dropout"), CELLS
)
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(
    tmp_path: Path,
    shuffle: str,
    micro_batch_size: int | None,
    optimizer: str,
    precision: Precision,
    border: str,
    dropout: float,
) -> None:
    stopped_and_straight(
        tmp_path,
        shuffle=shuffle,
        micro_batch_size=micro_batch_size,
        optimizer=optimizer,
        precision=precision,
        border=border,
        dropout=dropout,
    )


@pytest.mark.fault("resumed in float16: same bits")
def test_float16_with_its_factor_resumes_too(tmp_path: Path) -> None:
    stopped_and_straight(
        tmp_path,
        shuffle="windows",
        micro_batch_size=2,
        optimizer="adamw",
        precision="fp16",
        border="in an epoch",
    )


@pytest.mark.fault("resumed, compiled: same bits")
@pytest.mark.parametrize(("optimizer", "precision"), [("adamw", "fp32"), ("muon", "bf16")])
def test_a_compiled_run_resumes_too(tmp_path: Path, optimizer: str, precision: Precision) -> None:
    stopped_and_straight(
        tmp_path,
        shuffle="epochs",
        micro_batch_size=None,
        optimizer=optimizer,
        precision=precision,
        border="in an epoch",
        compile=True,
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(("optimizer", "precision"), [("adamw", "fp32"), ("adamw", "fp16"), ("muon", "bf16")])
def test_a_run_on_a_gpu_resumes_too(
    tmp_path: Path,
    optimizer: str,
    precision: Precision,
    compile: bool,  # noqa: A002
) -> None:
    with deterministic(torch.device("cuda")):
        stopped_and_straight(
            tmp_path,
            shuffle="windows",
            micro_batch_size=1,
            optimizer=optimizer,
            precision=precision,
            border="in an epoch",
            compile=compile,
            device="cuda",
        )
