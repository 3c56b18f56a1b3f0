"""Tensors that lie in shards on several processes: torch's DTensors, as FSDP makes parameters.

Nothing here imports torch's distributed parts, which take long: where a DTensor is, they are imported.
"""

import sys
from collections.abc import Iterable
from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def all_local(tensors: Iterable[Any]) -> list[Tensor]:
    """Return what of each tensor is in this process; the two share memory."""
    return [tensor.to_local() if is_sharded(tensor) else tensor for tensor in tensors]


def whole(tensor: Any) -> Tensor:
    """Return all of a tensor, gathered from its processes, each of which must ask for it."""
    gathered: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return gathered


def cut_like(tensor: Tensor, like: Any) -> Tensor:
    """Return the part of a whole tensor that belongs to this process, where `like` is sharded."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Each process has the whole: nothing need be sent.
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def sum_over_shards(number: Tensor, like: Any) -> Tensor:
    """Add up a 0-d tensor over the processes among which `like` is cut; copies of a shard count once."""
    if not is_sharded(like):
        return number
    from torch.distributed.tensor import DTensor, Partial, Replicate

    placements = [Replicate() if place.is_replicate() else Partial() for place in like.placements]
    return whole(DTensor.from_local(number, like.device_mesh, placements, run_check=False))
