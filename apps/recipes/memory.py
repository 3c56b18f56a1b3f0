"""The memory that a run will take, and whether it is there."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.accounting import (
    Attention,
    StepSettings,
    TrainingMemory,
    format_bytes,
    max_batch_size,
    training_memory,
)

from .experiment import Experiment

if TYPE_CHECKING:
    import torch


def step_settings(experiment: Experiment, device_type: str, num_processes: int = 1) -> StepSettings:
    """How accounting must see a step of a run on cpu, cuda or mps; compilation would save some of it."""
    kernel: Attention = "fused" if device_type in ("cpu", "cuda") else "explicit"
    share = experiment.batch_size // num_processes
    return StepSettings(
        precision="fp32" if experiment.precision == "fp32" else "bf16",
        attention=kernel if experiment.model.attention == "auto" else experiment.model.attention,
        checkpointing=experiment.activation_checkpointing,
        chunk_tokens=512 if device_type == "cpu" else 4096,  # as linear_cross_entropy chooses it
        logit_softcap=experiment.model.logit_softcap is not None,
        num_micro_batches=-(-share // windows_at_once(experiment, num_processes)),
        optimizer=experiment.optimizer.kind,
        muon_in_bf16=device_type == "cuda",
        optimizer_copies=device_type != "cpu" and not experiment.optimizer.fused_optimizer,
        weight_average=experiment.ema_decay is not None,
    )


def windows_at_once(experiment: Experiment, num_processes: int = 1) -> int:
    """Windows that go through the model of one process together."""
    share = max(1, experiment.batch_size // num_processes)
    return min(share, experiment.loop.micro_batch_size or share)


def predicted_memory(experiment: Experiment, device_type: str, num_processes: int = 1) -> TrainingMemory:
    """Return the memory of one process's step, by formula."""
    return training_memory(
        experiment.model,
        step_settings(experiment, device_type, num_processes),
        batch_size=windows_at_once(experiment, num_processes),
    )


def available_bytes(device: "torch.device") -> int | None:
    """Return what is free on a device now; None if it can't be told."""
    import torch  # here: the formulas above do without

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        return int(lines["MemAvailable"].removesuffix(" kB")) * 1024
    except (OSError, KeyError):  # no Linux
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        return os.sysconf(names[0]) * os.sysconf(names[1]) if set(names) <= set(os.sysconf_names) else None


def check_memory(experiment: Experiment, device: "torch.device", num_processes: int = 1) -> None:
    """Refuse a run that can't fit, before anything is downloaded or the device is taken.

    Args:
        experiment: The run.
        device: Where it will be.
        num_processes: How many share the batch, each with a whole model; on a CPU they share its memory too.

    Raises:
        ValueError: Naming the bytes needed, those there are, and a batch that would fit.
    """
    there = available_bytes(device)
    if there is None:
        return
    budget = there // num_processes if device.type == "cpu" else there
    memory = predicted_memory(experiment, device.type, num_processes)
    if memory.peak_bytes <= budget:
        return
    # A smaller batch than asked for is one of several whose gradients are added up.
    settings = replace(step_settings(experiment, device.type, num_processes), num_micro_batches=2)
    try:
        largest = max_batch_size(experiment.model, budget, settings)
        way_out = f"--micro-batch-size {largest} would fit, or --activation-checkpointing with more"
    except ValueError as error:
        way_out = f"{error}; take a smaller model"
    msg = (
        f"the run can't fit on {device}: it takes {format_bytes(memory.peak_bytes)} at its peak, and "
        f"{format_bytes(budget)} are free; {way_out}"
    )
    raise ValueError(msg)
