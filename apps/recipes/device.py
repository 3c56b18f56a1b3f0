"""Which device a run uses, and how fast it is."""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from hornbook.accounting import DType, hardware_named
from hornbook.trainer import Precision, choose_precision

from .experiment import Experiment
from .machine import why_no_compile_on_cpu


def choose_device(wanted: str | None) -> torch.device:
    """Return the device asked for, or the best one there is: CUDA, then Apple's MPS, then the CPU.

    Nothing is put on the device yet.

    Raises:
        ValueError: If torch doesn't know the name or the machine has no such device.
    """
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if wanted is None:
        return torch.device("cuda" if num_cuda else "mps" if has_mps else "cpu")
    there = ["cpu"] + ["mps"] * has_mps + ["cuda"] * bool(num_cuda) + [f"cuda:{i}" for i in range(num_cuda)]
    if wanted not in there:
        msg = f"--device {wanted} can't be used here: this machine has {', '.join(there)}"
        raise ValueError(msg)
    return torch.device(wanted)


def fit(experiment: Experiment, device: torch.device) -> Experiment:
    """Return a preset with the precision and the compilation that suit a device."""
    return replace(
        experiment,
        precision=choose_precision(device),
        compile=experiment.compile and why_no_compile(device) is None,
    )


def why_no_compile(device: torch.device) -> str | None:
    """Return what torch.compile lacks on a device; None if it can be used."""
    if device.type == "cpu":
        return why_no_compile_on_cpu()
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is not installed or doesn't know this GPU"
    return f"it is not dependable on {device.type}"


def check_compile(experiment: Experiment, device: torch.device) -> None:
    """Refuse an experiment that asks for torch.compile where it can't be used.

    Raises:
        ValueError: Naming what is missing.
    """
    if experiment.compile and (reason := why_no_compile(device)):
        msg = f"--compile can't be used: {reason}; give --no-compile"
        raise ValueError(msg)


def compile_cache() -> Path:
    """Return where what torch.compile made is kept, for all runs of this user: the next one starts faster."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hornbook" / "compile"


def peak_flops_per_second(device: torch.device, precision: Precision, measured: float) -> tuple[float, str]:
    """Return what MFU is a share of, and where it is from.

    Args:
        device: A GPU in accounting's table has the dense peak of its datasheet, for the dtype of the run.
        precision: fp32 runs as TF32 on a GPU: see `allow_tf32`.
        measured: Speed of a matrix product on the device, for all other devices.
    """
    known = hardware_named(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if known is None:
        return measured, "measured here"
    dtype: DType = "tf32" if precision == "fp32" else "bf16"  # fp16 has bf16's peak on all of them
    return known.peak(dtype), f"of the {known.name}'s datasheet, {dtype}"


def matmul_flops_per_second(
    device: torch.device, precision: Precision, *, rows: int, inner: int, columns: int, seconds: float = 0.3
) -> float:
    """Measure the speed of a matrix product (rows x inner) (inner x columns): a training step's ceiling.

    Returns:
        FLOP/s, 2 for each multiply-add; the median of the repetitions that fit into `seconds`.
    """
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    # Random numbers: a GPU multiplies equal ones faster than any real ones.
    left = torch.randn(rows, inner, device=device, dtype=dtype)
    right = torch.randn(inner, columns, device=device, dtype=dtype)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        began = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        times.append(time.perf_counter() - began)
    return 2 * rows * inner * columns / sorted(times)[len(times) // 2]
