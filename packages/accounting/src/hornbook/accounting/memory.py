"""How many bytes a training step takes, tensor by tensor, and the most at any moment.

The peak is *not* the sum of parameters, gradients, optimizer state and activations: gradients come while
activations go, so they never all meet. It is the greatest sum over the moments of a step, which `_step`
walks through in the order of `hornbook.nn`. Counted are tensors. What a device's driver, its libraries and
its allocator take besides is `overhead_bytes`: measure it, it can't be known from here.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

from ._checks import require_bool, require_choice, require_number, require_positive_int, require_whole
from .flops import Attention, step_symbols
from .formulas import evaluate
from .optimizers import Optimizer, optimizer_state, optimizer_symbols
from .shape import TransformerShape
from .units import format_bytes

Precision: TypeAlias = Literal["fp32", "bf16"]
"""float32 throughout, or matrix products in bfloat16 by autocast; parameters stay in float32."""

MemoryPhase: TypeAlias = Literal["forward", "backward", "optimizer"]


MOST_LAYERS = 10_000  # far more than anybody trains; they take a second

_SWITCHES = ("checkpointing", "logit_softcap", "muon_in_bf16", "optimizer_copies", "weight_average")


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
        optimizer: "adamw" or "muon".
        muon_in_bf16: Whether Muon multiplies in bfloat16, as it does on a GPU and on CPUs with tiles for it;
            float32 takes more.
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
    optimizer: Optimizer = "adamw"
    muon_in_bf16: bool = False
    optimizer_copies: bool = False
    weight_average: bool = False
    overhead_bytes: int = 0

    def __post_init__(self) -> None:
        require_choice("precision", self.precision, get_args(Precision))
        require_choice("attention", self.attention, get_args(Attention))
        require_choice("optimizer", self.optimizer, get_args(Optimizer))
        for name in _SWITCHES:
            require_bool(name, getattr(self, name))
        for name in ("chunk_tokens", "num_micro_batches"):
            require_positive_int(name, getattr(self, name))
        require_whole("overhead_bytes", self.overhead_bytes)


class MemoryRow(NamedTuple):
    """Tensors of one kind in the whole model."""

    component: str
    """What they belong to."""

    tensor: str
    """What they are."""

    formula: str
    """Their bytes, in the symbols of `SYMBOLS`."""

    num_bytes: int
    """Their bytes."""


class Moment(NamedTuple):
    """The bytes that are there at one moment."""

    static: int
    """Parameters, optimizer state and what else always is."""

    gradients: int
    """Those of parameters that have come."""

    saved: int
    """What the backward pass still needs."""

    transients: int
    """What operations pass on to each other and throw away."""


class TrainingMemory(NamedTuple):
    """The memory of a training step."""

    static: tuple[MemoryRow, ...]
    """What is there all the time: parameters, optimizer state, tables, the batch."""

    gradients: MemoryRow
    """There between the backward pass and the update."""

    saved: tuple[MemoryRow, ...]
    """What the forward pass keeps for the backward pass, operation by operation."""

    moments: dict[MemoryPhase, Moment]
    """The moment of each phase at which the most is there."""

    @property
    def peaks(self) -> dict[MemoryPhase, int]:
        """The most bytes at any moment of each phase."""
        return {phase: sum(moment) for phase, moment in self.moments.items()}

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
        return max(self.moments, key=lambda phase: sum(self.moments[phase]))

    @property
    def rows(self) -> tuple[MemoryRow, ...]:
        """All rows; they are never all there at once."""
        return (*self.static, self.gradients, *self.saved)


_DEFAULT = StepSettings()


def training_memory(
    shape: TransformerShape,
    settings: StepSettings = _DEFAULT,
    *,
    batch_size: int = 1,
    sequence_length: int | None = None,
) -> TrainingMemory:
    """Compute the memory of a training step of `hornbook.nn` and `hornbook.optim`, from the second step on.

    Without checkpointing and with it, in float32 and under autocast on the CPU, what is saved is that of the
    running model to the byte. A compiled model saves other tensors: see `compiled_saved_bytes`.

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
        (1121845248, 1469434368, 'backward')
    """
    shape, symbols = step_symbols(shape, batch_size, sequence_length)
    if shape.num_layers > MOST_LAYERS:
        layers = f"of {MOST_LAYERS:,} at most, got num_layers {shape.num_layers:,}"
        msg = f"memory is computed layer by layer, {layers}"
        raise ValueError(msg)
    if (missing := missing_layer(shape)) is not None:
        msg = (
            f"memory is that of hornbook.nn, which has no {missing}: ask about a shape without it, or "
            "measure your own model by dry_run"
        )
        raise ValueError(msg)
    symbols |= optimizer_symbols(shape)
    kinds = [
        ("parameters", "float32", "4·P"),
        *optimizer_state(settings.optimizer),
        ("batch", "ids and targets", "16·T"),
    ]
    if shape.position == "rope":
        kinds.append(("RoPE", "cosines and sines", "4·C·k"))
    if settings.weight_average:
        kinds.append(("weight average", "float32", "4·P"))
    if settings.overhead_bytes:
        kinds.append(("overhead", "what the device needs besides", str(settings.overhead_bytes)))
    static = tuple(MemoryRow(*kind, evaluate(kind[2], symbols)) for kind in kinds)
    # Here, because `_step` imports this module, and most who import the package never get so far.
    from ._step import walk

    saved, moments = walk(shape, settings, symbols, sum(row.num_bytes for row in static))
    gradients = MemoryRow("gradients", "float32", "4·P", 4 * symbols["P"])
    return TrainingMemory(static, gradients, saved, moments)


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


def missing_layer(shape: TransformerShape) -> str | None:
    """Name the setting for which `hornbook.nn` has no layer, so that no memory is known; None if it has all.

    Args:
        shape: A model's config or a `Shape`.

    Example:
        >>> from hornbook.accounting import GPT2_XL, PRESETS
        >>> missing_layer(GPT2_XL), missing_layer(PRESETS["released-gpt2-xl"])
        (None, 'biases=True')
    """
    for name, value in (("biases", True), ("position", "learned"), ("ffn", "gelu")):
        if getattr(shape, name, None) == value:
            return f"{name}={value!r}"
    return None
