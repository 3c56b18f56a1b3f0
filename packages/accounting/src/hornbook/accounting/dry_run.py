"""Your own torch model, run on tensors without numbers: its FLOPs, saved bytes and peak as torch makes them.

Needs torch, which nothing else here does: `pip install 'hornbook-accounting[torch]'`. Nothing is allocated
but sizes, so a model of any size runs on any machine, on fake CPU tensors. (Fake CUDA tensors without a GPU
refuse their backward pass and choose other attention kernels.) What is counted are tensors at the time that
torch holds them: no kernel's own scratch memory, no allocator. A compiled model runs here uncompiled; what it
saves compiled is told by `compiled_dry_run`.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import Module, Parameter
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper
from torch.utils.weak import WeakIdKeyDictionary

from .flops import training_ledger
from .memory import MemoryPhase, Precision, StepSettings, training_memory
from .shape import TransformerShape
from .tables import text_table
from .units import Share

Loss = Callable[..., Tensor]
"""Called with the model and the batch; gives the scalar that is differentiated."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a training step does, as torch was seen to do it."""

    num_parameters: int
    forward_flops: int
    """What ran before `backward` was called; `hornbook.nn` makes the head's gradients there as well."""
    training_flops: int
    """Forward and backward, with what is computed again."""
    saved_bytes: int
    """Storages that the graph holds after the forward pass, but for parameters, buffers and the batch."""
    peaks: dict[MemoryPhase, int]
    """The most bytes of all tensors at any moment of each phase."""

    @property
    def peak_bytes(self) -> int:
        """The most bytes at any moment."""
        return max(self.peaks.values())


def dry_run(
    model: Module,
    batch: Sequence[Tensor],
    *,
    loss: Loss | None = None,
    optimizer: Callable[[Module], Optimizer] | None = None,
    precision: Precision = "fp32",
) -> DryRun:
    """Run a training step of a model on fake CPU tensors; count its FLOPs and its bytes.

    With an optimizer it is the second step, before which every parameter had a gradient.

    Args:
        model: Real, on the meta device, or made under a `FakeTensorMode`. It is as before, afterwards.
        batch: What the loss takes besides the model; sizes alone matter.
        loss: None: `model.loss(*batch)`.
        optimizer: Makes the optimizer of a model. None: none, so that no state is counted.
        precision: "bf16" runs the forward pass under CPU autocast.

    Raises:
        ValueError: If the model has no parameters.

    Example:
        >>> layer = torch.nn.Linear(3, 5)
        >>> run = dry_run(layer, [torch.zeros(7, 3)], loss=lambda model, x: model(x).sum())
        >>> run.num_parameters, run.forward_flops, run.training_flops
        (20, 210, 420)
    """
    if next(model.parameters(), None) is None:
        msg = "the model has no parameters, so there is nothing to train"
        raise ValueError(msg)
    with on_fake_tensors(model, batch) as inputs:
        update = optimizer(model) if optimizer else None
        own_loss = loss or model_loss

        def forward() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                return own_loss(model, *inputs)

        if update is not None:
            for parameter in model.parameters():
                parameter.grad = torch.empty_like(parameter)
            with Meter():  # which is faster than without
                update.step()
            model.zero_grad(set_to_none=True)
        measured = _measure(forward, [*model.parameters(), *model.buffers(), *inputs], update)
        model.zero_grad(set_to_none=True)
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return DryRun(num_parameters, *measured)


def dry_run_table(run: DryRun, shape: TransformerShape, settings: StepSettings, *, batch_size: int) -> str:
    """Set what was seen beside what the formulas say, with the difference.

    Args:
        run: Of a model of this shape, on a batch of full context.
        shape: A model's config or a `Shape`.
        settings: How the formulas assume that the step is run.
        batch_size: Sequences in the batch.

    Raises:
        ValueError: As `training_memory`.
    """
    memory = training_memory(shape, settings, batch_size=batch_size)
    ledger = training_ledger(
        shape, batch_size=batch_size, attention=settings.attention, checkpointing=settings.checkpointing
    )
    products = sum(row.flops for row in ledger if row.phase != "optimizer")
    pairs = [
        ("FLOPs, forward and backward", run.training_flops, products),
        ("saved bytes", run.saved_bytes, memory.saved_bytes),
        *((f"peak bytes, {phase}", run.peaks[phase], memory.peaks[phase]) for phase in run.peaks),
    ]
    rows = [(name, seen, said, Share((said - seen) / seen if seen else 0)) for name, seen, said in pairs]
    return text_table(("what", "dry run", "ledger", "difference"), rows)


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, while it is on, FLOPs, and the bytes of all storages that are made, until nothing holds them.

    FLOPs are by the formulas of torch's `FlopCounterMode`, which itself would hold tensors of checkpointed
    blocks by its hooks on modules, and take apart every operation that it does not know.

    Args:
        known: Tensors that are there before.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.live = 0
        self.peak = 0
        self._seen = WeakIdKeyDictionary()
        for tensor in known:
            self.add(tensor)

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, if it is new."""
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            num_bytes = storage.nbytes()
            self._seen[storage] = num_bytes
            self.live += num_bytes
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, num_bytes)

    def _free(self, num_bytes: int) -> None:
        self.live -= num_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it computed and made."""
        kwargs = kwargs or {}
        if (written := _written(func, args, kwargs)) is not None:
            return written if func._schema.returns else None
        result = func(*args, **kwargs)
        if (flops_of := _FLOPS.get(func._overloadpacket)) is not None:
            self.flops += int(flops_of(*args, **kwargs, out_val=result))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result

    def peak_since(self) -> int:
        """The peak since the last call, or the start."""
        peak, self.peak = self.peak, self.live
        return peak


@shape_wrapper  # type: ignore[untyped-decorator]
def _addmm_flops(_: Any, first: Any, second: Any, **__: Any) -> int:
    return int(2 * first[0] * first[1] * second[1])


# By itself torch passes over a product that is added in place.
_FLOPS = flop_registry | {torch.ops.aten.addmm_: _addmm_flops}


@cache
def _writes_numbers(func: Any) -> tuple[bool, bool]:
    """Whether an operation goes number by number, and whether it writes over its first argument."""
    name = func._schema.name.split("::")[1]
    return torch.Tag.pointwise in func.tags or name.startswith("_foreach_"), name.endswith("_")


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The tensor, or the list of them, that an operation only writes numbers into; None if it does more.

    There are no numbers here, and most of a large model's time would go into slices, of an update or a gate,
    that are written again and again.
    """
    number_by_number, in_place = _writes_numbers(func)
    written = args[0] if in_place else kwargs.get("out")
    if not number_by_number or written is None:
        return None
    for index, place in enumerate(written if isinstance(written, list) else [written]):
        operands = [arg[index] if isinstance(arg, list) else arg for arg in args]
        tensors = [one for one in operands if isinstance(one, Tensor) and one.ndim > 0]
        # What has another shape or dtype may be wrong, and torch shall say so.
        if any(one.shape != place.shape or one.dtype != place.dtype for one in tensors):
            return None
    return written


def _measure(
    forward: Callable[[], Tensor], known: Sequence[Tensor], optimizer: Optimizer | None
) -> tuple[int, int, int, dict[MemoryPhase, int]]:
    """FLOPs forward and in all, what is saved, and the peaks."""
    state = [] if optimizer is None else tree_leaves([dict(state) for state in optimizer.state.values()])
    tensors = [*known, *(leaf for leaf in state if isinstance(leaf, Tensor))]
    peaks: dict[MemoryPhase, int] = {}
    with Meter(tensors) as meter:
        with counting_saved(known) as saved:
            loss = forward()
        forward_flops = meter.flops
        peaks["forward"] = meter.peak_since()
        loss.backward()  # type: ignore[no-untyped-call]
        del loss
        flops = meter.flops
        peaks["backward"] = meter.peak_since()
        if optimizer is not None:
            optimizer.step()
            peaks["optimizer"] = meter.peak_since()
    return forward_flops, flops, sum(saved.values()), peaks


@contextmanager
def counting_saved(known: Iterable[Tensor]) -> Iterator[dict[int, int]]:
    """Fill a table with the bytes of each storage that a graph keeps, without those of known tensors."""
    not_saved = {tensor.untyped_storage()._cdata for tensor in known}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in not_saved:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def model_loss(model: Any, *batch: Tensor) -> Tensor:
    """What is differentiated where no loss is given."""
    value: Tensor = model.loss(*batch)
    return value


@contextmanager
def on_fake_tensors(model: Module, batch: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Put fake CPU tensors in the place of the model's until the end; the batch, likewise."""
    first = next(model.parameters())
    mode = first.fake_mode if isinstance(first, FakeTensor) else FakeTensorMode()
    # Not a copy of the model: what is wrapped around its modules may hold these, and not their copies.
    originals = [(module, dict(module._parameters), dict(module._buffers)) for module in model.modules()]
    with mode:
        made: dict[int, Tensor] = {}  # tied ones once
        for module, parameters, buffers in originals:
            for name, parameter in parameters.items():
                if parameter is not None:
                    empty = made.get(id(parameter))
                    if empty is None:
                        empty = Parameter(_empty(parameter), requires_grad=parameter.requires_grad)
                        made[id(parameter)] = empty
                    module._parameters[name] = empty  # type: ignore[assignment]
            for name, buffer in buffers.items():
                if buffer is not None:
                    module._buffers[name] = made.setdefault(id(buffer), _empty(buffer))
        try:
            yield [_empty(tensor) for tensor in batch]
        finally:
            for module, parameters, buffers in originals:
                module._parameters.update(parameters)
                module._buffers.update(buffers)


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")
