"""What a tensor of ids or positions must be; apart from the checks of numbers, which need no torch."""

import torch
from torch import Tensor


def check_ids(name: str, ids: Tensor) -> None:
    """Refuse a dtype that torch does not look up by."""
    if ids.dtype not in (torch.int64, torch.int32):
        msg = f"{name} must be torch.int64 or torch.int32, got {ids.dtype}: {name}.long() makes them so"
        raise TypeError(msg)
