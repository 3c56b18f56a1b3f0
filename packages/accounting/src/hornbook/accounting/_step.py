"""A training step in sizes, from the forward pass to the update: what is saved, and the peaks."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ._layers import Model
from ._model import chunked_loss, hidden
from ._tape import Saved, Tape
from .memory import MemoryPhase, MemoryRow, StepSettings
from .parameters import num_vector_parameters
from .shape import Shape

_SLICE = 2**18  # numbers that AdamW updates at a time on a CPU


def walk(
    shape: Shape, settings: StepSettings, symbols: Mapping[str, int], static_bytes: int
) -> tuple[tuple[MemoryRow, ...], dict[MemoryPhase, int]]:
    """Go through a step; return what its forward pass saves, and the peak of each phase.

    Args:
        shape: A checked shape that `hornbook.nn` can build.
        settings: How the step is run.
        symbols: The value of each letter.
        static_bytes: What is there all the time.
    """
    tape = Tape(symbols, live=static_bytes)
    model = Model(shape, tape, autocast=settings.precision == "bf16", fused=settings.attention == "fused")
    peaks: dict[MemoryPhase, int] = {}
    for _ in range(min(settings.num_micro_batches, 2)):  # a third is like the second
        tape.saved.clear()
        x = hidden(model, checkpointing=settings.checkpointing)
        loss = chunked_loss(model, x, chunk_tokens=settings.chunk_tokens, softcap=settings.logit_softcap)
        del x
        peaks["forward"] = tape.peak
        tape.peak = tape.live
        node = loss.node
        assert node is not None
        del loss
        tape.backward(node, tape.new("4"))
        peaks["backward"], tape.peak = max(tape.peak, peaks.get("backward", 0)), tape.live
        for parameter in model.parameters.values():
            parameter.accumulates = True
        model.first_value = None
        del node
    all_parameters = symbols["P"]
    group = max(all_parameters - num_vector_parameters(shape), num_vector_parameters(shape))
    update = 4 * (group if settings.optimizer_copies else min(group, _SLICE))
    peaks["optimizer"] = static_bytes + 4 * all_parameters + update
    return _rows(tape.saved, shape), peaks


def _rows(saved: Sequence[Saved], shape: Shape) -> tuple[MemoryRow, ...]:
    """One row for each kind of tensor, however many layers have one."""
    counts = Counter(saved)
    return tuple(
        MemoryRow(
            one.operation, one.tensor, _times(one.formula, count, shape.num_layers), count * one.num_bytes
        )
        for one, count in counts.items()
    )


def _times(formula: str, count: int, num_layers: int) -> str:
    """A product so many times, by the number of layers where it is a multiple of that."""
    coefficient, *rest = formula.split("·")
    for number, symbol in ((num_layers, "L"), (num_layers - 1, "(L-1)")):
        if number > 0 and count % number == 0:
            return "·".join([str(int(coefficient) * (count // number)), symbol, *rest])
    return "·".join([str(int(coefficient) * count), *rest])
