"""A training step in sizes, from the forward pass to the update: what is saved, and the peaks."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ._layers import Model
from ._model import chunked_loss, hidden
from ._tape import Saved, Tape
from .memory import MemoryPhase, MemoryRow, Moment, StepSettings
from .optimizers import hidden_matrices
from .parameters import num_parameters, num_vector_parameters
from .shape import Shape

_SLICE = 2**18


def walk(
    shape: Shape, settings: StepSettings, symbols: Mapping[str, int], static_bytes: int
) -> tuple[tuple[MemoryRow, ...], dict[MemoryPhase, Moment]]:
    """Go through a step; return what its forward pass saves, and what is there at the peak of each phase.

    Args:
        shape: A checked shape that `hornbook.nn` can build.
        settings: How the step is run.
        symbols: The value of each letter.
        static_bytes: What is there all the time.
    """
    tape = Tape(symbols, live=static_bytes)
    model = Model(shape, tape, autocast=settings.precision == "bf16", fused=settings.attention == "fused")
    moments: dict[MemoryPhase, list[Moment]] = {"forward": [], "backward": [], "optimizer": []}

    def end(phase: MemoryPhase) -> None:
        moments[phase].append(Moment(static_bytes, **tape.end_phase()))

    for _ in range(min(settings.num_micro_batches, 2)):  # a third is like the second
        tape.saved.clear()
        x = hidden(model, checkpointing=settings.checkpointing)
        loss = chunked_loss(model, x, chunk_tokens=settings.chunk_tokens, softcap=settings.logit_softcap)
        del x
        end("forward")
        node = loss.node
        assert node is not None
        del loss
        tape.backward(node, "4")
        end("backward")
        for parameter in model.parameters.values():
            parameter.accumulates = True
        del node
    saved = _rows(tape.saved, shape)
    _update(tape, shape, settings)
    end("optimizer")
    return saved, {phase: max(found, key=sum) for phase, found in moments.items()}


def _update(tape: Tape, shape: Shape, settings: StepSettings) -> None:
    """The optimizer's step: parameters are updated in place."""
    matrices, vectors = num_parameters(shape) - num_vector_parameters(shape), num_vector_parameters(shape)
    sizes = [("V", "d"), *((kind.rows, kind.columns) for kind in hidden_matrices(shape))]
    if settings.optimizer == "muon":
        _update_hidden(tape, shape, 2 if settings.muon_in_bf16 else 4)
        matrices -= tape.symbols["H"]
        sizes = sizes[:1]
    slices = [_slice(tape.value(rows), tape.value(columns)) for rows, columns in sizes]
    tape.new(f"4·{max(matrices, vectors) if settings.optimizer_copies else max(slices)}")


def _slice(rows: int, columns: int) -> int:
    """Numbers that AdamW updates at a time on a CPU: whole rows."""
    size = rows * columns
    return size if size <= _SLICE else max(1, _SLICE * rows // size) * columns


def _update_hidden(tape: Tape, shape: Shape, width: int) -> None:
    """Muon's: matrices of one shape together, as `orthogonalize` takes them."""
    batches: Counter[tuple[int, int]] = Counter()
    for kind in hidden_matrices(shape):
        side = (tape.value(kind.rows), tape.value(kind.columns))
        batches[side] += kind.num_in_layer * shape.num_layers
    for (rows, columns), number in batches.items():
        numbers, squares = number * rows * columns, number * min(rows, columns) ** 2
        ahead = tape.new(f"4·{numbers}")
        x = tape.new(f"4·{numbers}")
        if width == 4:
            _by_squares(tape, rows, columns)
        else:
            x = tape.new(f"{width}·{numbers}")
            for _ in range(2):  # a third step is like the second
                gram = tape.new(f"{width}·{squares}")
                polynomial = tape.new(f"{width}·{squares}")
                x = tape.new(f"{width}·{numbers}")
            del gram, polynomial
        directions = x  # there until those of the next shape are
        del x
    del ahead, directions


def _by_squares(tape: Tape, rows: int, columns: int) -> None:
    """One matrix in float32: the next is like it, and the third step like the second."""
    square = f"4·{min(rows, columns) ** 2}"
    gram = tape.new(square)
    total = None
    for _ in range(2):
        polynomial = tape.new(square)
        total = polynomial if total is None else tape.new(square)
        half = tape.new(square)
        gram = tape.new(square)
        del half
    del gram, total, polynomial
    held = [tape.new(square) for _ in range(3)]  # the last step has no new gram
    tape.new(f"4·{rows * columns}")
    del held


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
    if " + " in formula:
        return " + ".join(_times(term, count, num_layers) for term in formula.split(" + "))
    coefficient, *rest = formula.split("·")
    for number, symbol in ((num_layers, "L"), (num_layers - 1, "(L-1)")):
        if number > 0 and count % number == 0:
            return "·".join([str(int(coefficient) * (count // number)), symbol, *rest])
    return "·".join([str(int(coefficient) * count), *rest])
