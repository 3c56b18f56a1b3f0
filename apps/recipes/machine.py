"""What this machine has, told without torch, so that a command line is read before torch is imported."""

import ctypes
import os
import re
import shutil
import sys
from pathlib import Path

from .nearest import nearest

KINDS = ("cpu", "cuda", "mps")


def likely_device(wanted: str | None) -> str:
    """Return the kind of device that `choose_device` will choose: cpu, cuda or mps.

    It may say cuda where torch can't use the GPU that is there, but not cpu where torch would use a GPU.

    Args:
        wanted: A device's name, such as cuda:1; None: the best there is.

    Raises:
        ValueError: If no device has that name, or this machine clearly has none of the kind.

    Example:
        >>> likely_device("cpu")
        'cpu'
    """
    if wanted is None:
        return "mps" if _has_mps() else "cuda" if _has_gpu() else "cpu"
    kind = wanted.split(":")[0]
    if kind not in KINDS or not re.fullmatch(r"(cuda(:\d+)?)|cpu|mps", wanted):
        near = "cuda" if kind == "gpu" else nearest(kind, KINDS)
        msg = f"--device {wanted} can't be used here: give cpu, cuda, cuda:N or mps; the nearest is {near}"
        raise ValueError(msg)
    if kind != "cpu" and not (_has_gpu() if kind == "cuda" else _has_mps()):
        msg = f"--device {wanted} can't be used here: this machine has cpu"
        raise ValueError(msg)
    return kind


def why_no_compile_on_cpu() -> str | None:
    """Return what torch.compile lacks on the CPU; None if it can be used."""
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
    found = any(shutil.which(name) for name in compilers)
    return None if found else "there is no C++ compiler (g++ or clang++) on this machine"


def _has_mps() -> bool:
    return sys.platform == "darwin"


def _has_gpu() -> bool:
    """Ask NVIDIA's driver, without which torch has no CUDA either; of AMD's, whether it is there."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
