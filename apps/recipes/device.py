"""Which device a run uses, and how fast it is."""

import os
import shutil
import time

import torch

from .experiment import Precision, PresetName


def choose_device(wanted: str | None) -> torch.device:
    """Return the device asked for, or the best one there is: CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: If torch doesn't know the name or the machine has no such device.
    """
    if wanted is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        msg = f"--device {wanted} can't be used here: {reason}"
        raise ValueError(msg) from error
    return device


def choose_preset(device: torch.device) -> PresetName:
    """Return the preset that a device carries in minutes: gpu on CUDA, demo elsewhere."""
    return "gpu" if device.type == "cuda" else "demo"


def choose_precision(wanted: Precision, device: torch.device) -> Precision:
    """Return bf16 only where it was asked for and the hardware has it."""
    if (
        wanted == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        return "fp32"
    return wanted


def can_compile(device: torch.device) -> bool:
    """Tell whether torch.compile has what it needs: a C++ compiler on the CPU, Triton on CUDA, not MPS."""
    if device.type == "cpu":
        return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return bool(has_triton())
    return False


def allow_fast_matmul(device: torch.device) -> None:
    """Let float32 matrix products on CUDA use TF32. On MPS the setting is known to harm."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def matmul_flops_per_second(
    device: torch.device, precision: Precision, *, rows: int, inner: int, columns: int, seconds: float = 0.3
) -> float:
    """Measure the speed of a matrix product (rows x inner) (inner x columns): a training step's ceiling.

    Returns:
        FLOP/s, 2 for each multiply-add; the median of the repetitions that fit into `seconds`.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.ones(rows, inner, device=device, dtype=dtype)
    right = torch.ones(inner, columns, device=device, dtype=dtype)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        began = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        times.append(time.perf_counter() - began)
    return 2 * rows * inner * columns / sorted(times)[len(times) // 2]
