"""The same bits every time, on devices whose fastest kernels add in an order that changes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Take none but kernels that give the same bits each time, while the block runs; needed on CUDA alone.

    Attention's gradient, an embedding's and others' are sums that a GPU's threads add to as they come, so
    their last bits differ from run to run: without this a run that is resumed on a GPU has other bits than
    one that was not stopped. On the CPU and on MPS nothing is changed.

    Raises:
        RuntimeError: In the block, from torch, on an operation that it can't do so; it is named.

    Example:
        >>> with deterministic(torch.device("cpu")):
        ...     torch.are_deterministic_algorithms_enabled()
        False
    """
    if device.type != "cuda":
        yield
        return
    # What cuBLAS may take for itself; without a fixed size its kernels, of several streams, may share it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    enabled = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    also: Any = torch.utils.deterministic  # its types don't tell the next one
    fills = also.fill_uninitialized_memory
    # Not only a warning where torch has no such kernel: with that it takes attention's usual one.
    torch.use_deterministic_algorithms(True)
    also.fill_uninitialized_memory = False  # nothing reads what was never written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=only_warns)
        also.fill_uninitialized_memory = fills
