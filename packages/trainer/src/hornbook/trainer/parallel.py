"""One step on many processes: the loss, wrapped so that its gradients are those of the whole batch.

Each process computes the loss of its own rows. "ddp": every process has the whole model, and gradients are
averaged while the backward pass runs. "fsdp": parameters, gradients and moments lie in shards, one in each
process (FSDP2); a block is gathered when it is needed and let go after it, so a model need not fit on any
one device. The rest of a run doesn't know: it has a loss to call and a model whose parameters it updates.
"""

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .distributed import World
from .evaluation import Loss

Parallel = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True)
class ParallelLoss:
    """A loss whose backward pass leaves the mean over all processes in the model's gradients."""

    loss: Loss
    """For training; under FSDP for evaluation too, as often on every process."""
    accumulating: Callable[[], AbstractContextManager[None]] = nullcontext
    """Surrounds the passes of every micro-batch but the last, where averaging can wait for that one."""


def parallelize(
    model: nn.Module, loss: Loss, world: World, how: Parallel, *, units: Iterable[nn.Module] = ()
) -> ParallelLoss:
    """Spread a model, or its batch, over the processes. With one process, the loss comes back as it is.

    The model is changed in place under "fsdp": its parameters become DTensors. So the optimizer comes after.

    Args:
        model: On `world.device` for "ddp"; for "fsdp" anywhere, its shards move there. The same in every
            process: "ddp" copies that of rank 0, "fsdp" takes from each process its shard.
        loss: Mean nats a token of (inputs, targets) under the model.
        world: The processes.
        how: "ddp" or "fsdp".
        units: For "fsdp": modules of the model that are gathered one at a time, its blocks. What lies
            outside is gathered for the whole pass.

    Raises:
        ValueError: If `how` is neither.
    """
    if how not in ("ddp", "fsdp"):
        msg = f'a model is made parallel by "ddp" or "fsdp", got {how!r}'
        raise ValueError(msg)
    if world.size == 1:
        return ParallelLoss(loss)
    whole = _LossModule(model, loss)
    if how == "ddp":
        replicated = DistributedDataParallel(
            whole, device_ids=[world.device] if world.device.type == "cuda" else None, **_CONSTANT_BUFFERS
        )
        return ParallelLoss(replicated, replicated.no_sync)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # No MixedPrecisionPolicy: it would make the norms' weights 16 bits too. Autocast, within the loss, casts
    # what it does with one process, so the numbers are the same, for twice the bytes of a gather.
    mesh = init_device_mesh(world.device.type, (world.size,))
    for unit in units:
        fully_shard(unit, mesh=mesh)
    fully_shard(whole, mesh=mesh)
    # Each micro-batch is averaged at once: to wait for the last one, every process would have to keep whole
    # gradients, which is what doesn't fit.
    return ParallelLoss(whole)


class _LossModule(nn.Module):
    """A loss as a module: DDP and FSDP see the call of a module, and a loss may call any part of a model."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._loss(inputs, targets)


# Buffers, such as rotary tables, are the same everywhere from the start: nothing need be sent in each pass.
_CONSTANT_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers": False
}
