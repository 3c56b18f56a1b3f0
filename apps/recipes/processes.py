"""How a run is spread over many processes."""

import torch

from hornbook.accounting import num_parameters
from hornbook.trainer import Parallel, World

from .experiment import Experiment
from .flags import ParallelFlag

_BYTES_A_PARAMETER = 16  # in float32: the weight, its gradient, AdamW's two moments
_SHARE_OF_MEMORY = 0.6  # activations need the rest


def choose_parallel(flag: ParallelFlag, experiment: Experiment, world: World) -> Parallel:
    """Return how the processes share the model: see `parallelize`."""
    if flag != "auto":
        return flag
    if world.device.type != "cuda":
        return "ddp"
    memory = torch.cuda.get_device_properties(world.device).total_memory
    fits = num_parameters(experiment.model) * _BYTES_A_PARAMETER < memory * _SHARE_OF_MEMORY
    return "ddp" if fits else "fsdp"
