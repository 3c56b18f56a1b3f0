"""What doesn't belong together is refused with both values, before a model is made or a step is taken."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hornbook.trainer import (
    Checkpoints,
    check_configuration,
    open_token_file,
    random_windows,
    run_directory,
    write_token_file,
)

RUN = {"model": {"context_length": 256, "d_model": 64}, "text": {"train_sha256": "aaaa"}}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def edit_data(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(50_001)
        file.write(b"\1")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nobody had been there


def of_checkpoint(directory: Path, width: int, **more: object) -> None:
    model = nn.Linear(2, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Checkpoints(directory / "checkpoints", **more).restore(model, optimizer)  # type: ignore[arg-type]


# What is done to a run that is there, what is then asked for, and what must be said.
KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], str]] = {
    "tokenizer": (
        lambda d: None,
        lambda d: open_token_file(d / "t.bin", tokenizer="other"),
        "tokenizer is ours, expected other",
    ),
    "vocabulary": (
        lambda d: None,
        lambda d: open_token_file(d / "t.bin", vocab_size=301),
        "vocab_size is 300, expected 301",
    ),
    "dtype": (
        lambda d: edit(d / "t.bin.json", "<u2", "<u4"),
        lambda d: open_token_file(d / "t.bin"),
        "dtype is <u4, expected <u2",
    ),
    "context": (
        lambda d: None,
        lambda d: check_configuration(d / "run", RUN | {"model": {"context_length": 512, "d_model": 64}}),
        r"model\.context_length = 256, this one has 512",
    ),
    "shape": (
        lambda d: None,
        lambda d: of_checkpoint(d, 4),
        r"bias: the model has float32 of shape \(4,\), the checkpoint has float32 of shape \(3,\)",
    ),
    "text": (
        lambda d: None,
        lambda d: of_checkpoint(d, 3, run=RUN | {"text": {"train_sha256": "bbbb"}}),
        r'text\.train_sha256 = "aaaa", this one has "bbbb"',
    ),
    "version of the configuration": (
        lambda d: edit(d / "run" / "config.json", '"version": 1', '"version": 9'),
        lambda d: check_configuration(d / "run", RUN),
        "has version 9, this hornbook reads version 1",
    ),
    "version of the checkpoint": (
        lambda d: edit(
            next((d / "checkpoints").glob("step-*")) / "manifest.json", '"version": 2', '"version": 9'
        ),
        lambda d: of_checkpoint(d, 3),
        "has version 9, this hornbook reads version 2",
    ),
    "edited data": (
        lambda d: edit_data(d / "t.bin"),
        lambda d: open_token_file(d / "t.bin"),
        "sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}",
    ),
    "data shorter than a window": (
        lambda d: None,
        lambda d: random_windows(
            open_token_file(d / "t.bin").tokens, batch_size=1, context_length=60_000, device="cpu", seed=0
        ),
        "context_length=60000 needs 60001 tokens, the data has 60000",
    ),
    "validation missing": (
        lambda d: None,
        lambda d: open_token_file(d / "valid.bin"),
        r"valid\.bin\.json is missing",
    ),
}


def test_every_mismatch_is_refused_with_both_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    monkeypatch.setattr("hornbook.trainer.unchanged._COARSENESS_NS", -(10**18))
    slowest = 0.0
    for number, (kind, (change, ask, message)) in enumerate(KINDS.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        ids = np.arange(60_000) % 300
        write_token_file(directory / "t.bin", [ids], vocab_size=300, tokenizer="ours", text="x")
        open_token_file(directory / "t.bin")  # it is known, as at any start but the first
        with run_directory(directory / "run", RUN, about={}):
            pass
        model = nn.Linear(2, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        Checkpoints(directory / "checkpoints", run=json.loads(json.dumps(RUN))).save(
            1, model, optimizer, wallclock_seconds=0.0
        )
        change(directory)
        began = time.perf_counter()
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            ask(directory)
        slowest = max(slowest, time.perf_counter() - began)
        assert kind
    figure(f"mismatches: {len(KINDS)} kinds refused with both values, the slowest in {slowest:.3f} s")
