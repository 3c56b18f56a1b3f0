"""How many bytes a training step takes, tensor by tensor, and the most at any moment.

The peak is *not* the sum of parameters, gradients, optimizer state and activations: gradients come while
activations go, so they never all meet. It is the greatest sum over the moments of a step, which `_model`
walks through in the order of `hornbook.nn`. Counted are tensors. What a device's driver, its libraries and
its allocator take besides is `overhead_bytes`: measure it, it can't be known from here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from ._checks import require_bool, require_choice, require_number, require_positive_int, require_whole
from ._layers import Model
from ._model import chunked_loss, hidden
from ._tape import Saved, Tape
from .flops import Attention, step_symbols
from .formulas import evaluate
from .parameters import num_parameters, num_vector_parameters
from .shape import Shape, TransformerShape
from .units import format_bytes

Precision: TypeAlias = Literal["fp32", "bf16"]
"""float32 throughout, or matrix products in bfloat16 by autocast; parameters stay in float32."""

MemoryPhase: TypeAlias = Literal["forward", "backward", "optimizer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSettings:
    """How a training step is run; the defaults are those of the apps on a CPU.

    Args:
        precision: "fp32" or "bf16".
        attention: "explicit" or "fused".
        checkpointing: Whether each block keeps its input alone and runs again.
        chunk_tokens: Tokens whose logits exist at a time in the loss; `hornbook.nn` takes 512 on a CPU and
            4096 elsewhere.
        logit_softcap: Whether the logits are bent.
        num_micro_batches: Batches whose gradients are added up for one update; with more than one, gradients
            are there from the start.
        optimizer_copies: Whether AdamW takes a copy of the largest group of parameters, as on a GPU, unless
            it is compiled; on a CPU it goes slice by slice.
        weight_average: Whether a running mean of the parameters is kept.
        overhead_bytes: What the device needs besides tensors: context, libraries, an allocator's losses.

    Raises:
        ValueError: If a choice is unknown or a number out of range.
        TypeError: If a number is not an int or a switch not a bool.

    Example:
        >>> StepSettings(precision="bf16", attention="fused").checkpointing
        False
    """

    precision: Precision = "fp32"
    attention: Attention = "fused"
    checkpointing: bool = False
    chunk_tokens: int = 512
    logit_softcap: bool = False
    num_micro_batches: int = 1
    optimizer_copies: bool = False
    weight_average: bool = False
    overhead_bytes: int = 0

    def __post_init__(self) -> None:
        require_choice("precision", self.precision, get_args(Precision))
        require_choice("attention", self.attention, get_args(Attention))
        for name in ("checkpointing", "logit_softcap", "optimizer_copies", "weight_average"):
            require_bool(name, getattr(self, name))
        for name in ("chunk_tokens", "num_micro_batches"):
            require_positive_int(name, getattr(self, name))
        require_whole("overhead_bytes", self.overhead_bytes)


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """Tensors of one kind in the whole model."""

    component: str
    """What they belong to."""

    tensor: str
    """What they are."""

    formula: str
    """Their bytes, in the symbols of `SYMBOLS`."""

    num_bytes: int
    """Their bytes."""


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """The memory of a training step."""

    static: tuple[MemoryRow, ...]
    """What is there all the time: parameters, optimizer state, tables, the batch."""

    gradients: MemoryRow
    """There between the backward pass and the update."""

    saved: tuple[MemoryRow, ...]
    """What the forward pass keeps for the backward pass, operation by operation."""

    peaks: dict[MemoryPhase, int]
    """The most bytes at any moment of each phase."""

    @property
    def saved_bytes(self) -> int:
        """All that is kept for the backward pass."""
        return sum(row.num_bytes for row in self.saved)

    @property
    def peak_bytes(self) -> int:
        """The most bytes at any moment."""
        return max(self.peaks.values())

    @property
    def peak_phase(self) -> MemoryPhase:
        """Where the most bytes are there."""
        return max(self.peaks, key=lambda phase: self.peaks[phase])

    @property
    def rows(self) -> tuple[MemoryRow, ...]:
        """All rows; they are never all there at once."""
        return (*self.static, self.gradients, *self.saved)


_DEFAULT = StepSettings()
_SLICE = 2**18  # numbers that AdamW updates at a time on a CPU


def training_memory(
    shape: TransformerShape,
    settings: StepSettings = _DEFAULT,
    *,
    batch_size: int = 1,
    sequence_length: int | None = None,
) -> TrainingMemory:
    """Compute the memory of a training step of `hornbook.nn` with AdamW, from its second step on.

    Without checkpointing and with it, in float32 and under autocast on the CPU, what is saved is that of the
    running model to the byte. A compiled model saves other tensors: ask `dry_run`'s figures on your device.

    Args:
        shape: A model's config or a `Shape` that `hornbook.nn` can build.
        settings: How the step is run.
        batch_size: Sequences at a time, B: of one micro-batch.
        sequence_length: Tokens in each, S; the context length if left out.

    Raises:
        ValueError: If the shape is impossible, `hornbook.nn` has not its layers, or a number is out of range.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> memory = training_memory(TINYSTORIES, batch_size=32)
        >>> memory.saved_bytes, memory.peak_bytes, memory.peak_phase
        (1122041856, 1469109504, 'backward')
    """
    shape, symbols = step_symbols(shape, batch_size, sequence_length)
    _require_layers(shape)
    symbols |= {"P": num_parameters(shape)}
    static = [
        MemoryRow("parameters", "float32", "4·P", 0),
        MemoryRow("AdamW", "two moments", "8·P", 0),
        MemoryRow("batch", "ids and targets", "16·T", 0),
    ]
    if shape.position == "rope":
        static.append(MemoryRow("RoPE", "cosines and sines", "4·C·k", 0))
    if settings.weight_average:
        static.append(MemoryRow("weight average", "float32", "4·P", 0))
    static = [replace(row, num_bytes=evaluate(row.formula, symbols)) for row in static]
    if settings.overhead_bytes:
        bytes_ = settings.overhead_bytes
        static.append(MemoryRow("overhead", "what the device needs besides", str(bytes_), bytes_))
    tape = Tape(symbols)
    tape.live = sum(row.num_bytes for row in static)
    gradients = MemoryRow("gradients", "float32", "4·P", 4 * symbols["P"])
    return TrainingMemory(
        static=tuple(static),
        gradients=gradients,
        peaks=_peaks(
            Model(shape, tape, settings.precision == "bf16", settings.attention == "fused"), settings
        ),
        saved=_rows(tape.saved, shape),
    )


def max_batch_size(
    shape: TransformerShape,
    budget_bytes: float,
    settings: StepSettings = _DEFAULT,
    *,
    sequence_length: int | None = None,
) -> int:
    """Find the largest batch whose peak is within a budget.

    Args:
        shape: A model's config or a `Shape`.
        budget_bytes: 80e9 for 80 GB, 80 * 2**30 for 80 GiB: `parse_bytes` reads both.
        settings: How the step is run.
        sequence_length: Tokens in each sequence; the context length if left out.

    Raises:
        ValueError: If one sequence does not fit (the message says by how much), the budget is not positive,
            or as `training_memory`.
        TypeError: If the budget is not a number.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> max_batch_size(GPT2_XL, 80e9), max_batch_size(GPT2_XL, 80 * 2**30)
        (8, 9)
    """
    require_number("budget_bytes", budget_bytes)

    def peak(batch_size: int) -> int:
        memory = training_memory(shape, settings, batch_size=batch_size, sequence_length=sequence_length)
        return memory.peak_bytes

    if peak(1) > budget_bytes:
        short = peak(1) - int(budget_bytes)
        msg = (
            f"a batch of one sequence takes {format_bytes(peak(1))}, {format_bytes(short)} more than the "
            f"budget of {format_bytes(budget_bytes)}"
        )
        raise ValueError(msg)
    fits, too_many = 1, 2
    while peak(too_many) <= budget_bytes:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if peak(middle) <= budget_bytes else (fits, middle)
    return fits


def _peaks(model: Model, settings: StepSettings) -> dict[MemoryPhase, int]:
    tape, shape = model.tape, model.shape
    base = tape.peak = tape.live
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
    all_parameters = tape.symbols["P"]
    group = max(all_parameters - num_vector_parameters(shape), num_vector_parameters(shape))
    update = 4 * (group if settings.optimizer_copies else min(group, _SLICE))
    peaks["optimizer"] = base + 4 * all_parameters + update
    return peaks


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


def _require_layers(shape: Shape) -> None:
    for name, value in (("biases", True), ("position", "learned"), ("ffn", "gelu")):
        if getattr(shape, name) == value:
            msg = (
                f"memory is that of hornbook.nn, which has no {name}={value!r}: ask about a shape without "
                "it, or measure your own model by dry_run"
            )
            raise ValueError(msg)
