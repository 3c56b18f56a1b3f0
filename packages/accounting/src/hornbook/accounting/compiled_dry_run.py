"""What torch.compile would save of your model. Heuristics decide which tensors it keeps, so it is measured.

Needs torch, as `dry_run` does. The model is traced on fake tensors and cut into a forward and a backward
graph by inductor's own passes; no kernel is compiled and nothing allocated, so a model of any size will do,
without a compiler. These are the insides of torch (tried with 2.15), which may change with its version.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .dry_run import Loss, counting_saved, model_loss, on_fake_tensors
from .memory import Precision


def compiled_saved_bytes(
    model: Module, batch: Sequence[Tensor], *, loss: Loss | None = None, precision: Precision = "fp32"
) -> int:
    """Count the bytes that the forward pass keeps for the backward pass when its loss is compiled for a CPU.

    Args:
        model: Real, on the meta device, or made under a `FakeTensorMode`. It is as before, afterwards.
        batch: What the loss takes besides the model; sizes alone matter.
        loss: None: `model.loss(*batch)`.
        precision: "bf16" runs the forward pass under CPU autocast.

    Returns:
        Bytes of storages, each once, without parameters, buffers and the batch.

    Example:
        >>> layers = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.SiLU(), torch.nn.SiLU())
        >>> compiled_saved_bytes(layers, [torch.zeros(7, 3)], loss=lambda model, x: model(x).sum())
        140
    """
    own_loss = loss or model_loss
    with on_fake_tensors(model, batch) as inputs:

        def forward() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                return own_loss(model, *inputs)

        known = [*model.parameters(), *model.buffers(), *inputs]
        with counting_saved(known) as saved:
            # Held until the hooks are gone: what a storage is called is another's name once it is freed.
            result = torch.compile(forward, backend=_cut_by_inductor())()
        del result
    return sum(saved.values())


def _cut_by_inductor() -> Callable[..., Any]:
    """A backend that runs the graphs that inductor would compile."""
    from torch._dynamo.backends.common import aot_autograd  # here: all of these take seconds
    from torch._functorch._aot_autograd.utils import make_boxed_func
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.compile_fx import _recursive_joint_graph_passes
    from torch._inductor.decomposition import select_decomp_table

    def as_it_is(graph: Any, _: Any) -> Any:
        return make_boxed_func(graph.forward)

    def partition(graph: Any, inputs: Any, **more: Any) -> Any:
        _recursive_joint_graph_passes(graph)
        return min_cut_rematerialization_partition(graph, inputs, compiler="inductor", **more)

    backend: Callable[..., Any] = aot_autograd(
        fw_compiler=as_it_is, partition_fn=partition, decompositions=select_decomp_table()
    )
    return backend
