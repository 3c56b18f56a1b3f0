"""Before a run its memory is predicted, and a run that can't fit is refused."""

from dataclasses import replace

import pytest
import torch

from hornbook.accounting import training_memory
from recipes import memory
from recipes.experiment import PRESETS
from recipes.memory import available_bytes, check_memory, predicted_memory, step_settings, windows_at_once

CPU = torch.device("cpu")
DEMO = PRESETS["demo"]()


def test_this_machine_says_what_is_free() -> None:
    free = available_bytes(CPU)
    assert free is None or 10**8 < free < 10**15


def test_a_run_that_fits_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = predicted_memory(DEMO, "cpu").peak_bytes
    monkeypatch.setattr(memory, "available_bytes", lambda device: peak)
    check_memory(DEMO, CPU)
    monkeypatch.setattr(memory, "available_bytes", lambda device: None)
    check_memory(DEMO, CPU)


def test_a_run_that_can_not_fit_is_told_which_batch_would(monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(DEMO, batch_size=64)
    budget = 400_000_000
    monkeypatch.setattr(memory, "available_bytes", lambda device: budget)
    with pytest.raises(ValueError, match=r"--micro-batch-size (\d+) would fit") as refusal:
        check_memory(large, CPU)
    assert "400 MB are free" in str(refusal.value)
    number = int(str(refusal.value).split("--micro-batch-size ")[1].split()[0])
    # Gradients of the batches before are there as well, so ask for what the message promises.
    smaller = replace(large, loop=replace(large.loop, micro_batch_size=number))
    check_memory(smaller, CPU)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10_000_000)
    with pytest.raises(ValueError, match="take a smaller model"):
        check_memory(large, CPU)


def test_processes_share_the_batch_and_the_memory_of_a_cpu() -> None:
    experiment = replace(DEMO, batch_size=8)
    assert windows_at_once(experiment, 4) == 2
    half = predicted_memory(experiment, "cpu", 2)
    how = step_settings(experiment, "cpu", 2)
    assert half == training_memory(experiment.model, how, batch_size=4)
    accumulating = replace(experiment, loop=replace(experiment.loop, micro_batch_size=3))
    assert step_settings(accumulating, "cpu").num_micro_batches == 3
