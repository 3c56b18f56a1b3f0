"""A question about a shape, the figures that answer it, and such figures side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from .duration import TrainingTime, training_time
from .flops import forward_ledger
from .hardware import DType, Hardware, find_hardware
from .memory import StepSettings, max_batch_size, missing_layer, training_memory
from .meters import UtilizationRow, utilization
from .parameters import num_parameters
from .shape import Shape
from .tables import TableFormat, table
from .units import parse_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """All that a report is about.

    Args:
        shape: The model.
        settings: How a training step is run.
        batch_size: Sequences.
        sequence_length: Tokens in each; None: the context length.
        budget_bytes: Memory that there is; None: not asked.
        hardware: The device; None: not asked.
        dtype: What it multiplies in.
        mfu: Share of its peak that is reached; None: no time.
        num_steps: Updates; None with `num_tokens`.
        num_tokens: Tokens of the run.
        num_devices: Devices that share the work.
        cost_per_device_hour: Price; None: no cost.
        tokens_per_second: Measured, of all devices; None: no utilization.
        causal_half: Whether the masked half of the scores is left out of the ledgers of FLOPs.
    """

    shape: Shape
    settings: StepSettings
    batch_size: int = 1
    sequence_length: int | None = None
    budget_bytes: int | None = None
    hardware: Hardware | None = None
    dtype: DType = "bf16"
    mfu: float | None = None
    num_steps: int | None = None
    num_tokens: int | None = None
    num_devices: int = 1
    cost_per_device_hour: float | None = None
    tokens_per_second: float | None = None
    causal_half: bool = False

    @property
    def size(self) -> dict[str, Any]:
        """The batch, as the ledgers take it."""
        return {"batch_size": self.batch_size, "sequence_length": self.sequence_length}

    @property
    def tokens_of_a_sequence(self) -> int:
        """The sequence length that is meant."""
        return self.sequence_length or self.shape.context_length


def largest_batch(question: Question, budget: int) -> int:
    """The largest batch within a budget."""
    return max_batch_size(question.shape, budget, question.settings, sequence_length=question.sequence_length)


def run_time(question: Question) -> TrainingTime | None:
    """Time and cost of the whole run, or of a step; None if hardware and MFU were not given."""
    if question.mfu is None or question.hardware is None:
        return None
    seq = question.tokens_of_a_sequence
    return training_time(
        replace(question.shape, context_length=seq),
        hardware=question.hardware,
        dtype=question.dtype,
        mfu=question.mfu,
        num_tokens=question.num_tokens or (question.num_steps or 1) * question.batch_size * seq,
        batch_size=question.batch_size,
        num_devices=question.num_devices,
        cost_per_device_hour=question.cost_per_device_hour,
    )


def measured_utilization(question: Question) -> tuple[UtilizationRow, ...]:
    """MFU by each convention, and HFU, from the measured speed on the device.

    Raises:
        ValueError: If a device, with the half of the scores that it may leave out, is said to pass its peak.
    """
    device, speed = question.hardware, question.tokens_per_second
    assert device is not None and speed is not None
    rows = utilization(
        replace(question.shape, context_length=question.tokens_of_a_sequence),
        tokens_per_second=speed,
        peak_flops_per_second=device.peak(question.dtype),
        attention=question.settings.attention,
        checkpointing=question.settings.checkpointing,
        num_devices=question.num_devices,
    )
    least = next(row.utilization for row in rows if row.convention == "MFU, causal half")
    if least > 1:
        msg = (
            f"{speed:g} tokens a second take {least:.3g} times the peak of {device.name} in "
            f"{question.dtype}, num_devices={question.num_devices}: of more devices, or in another unit?"
        )
        raise ValueError(msg)
    return rows


Figures: TypeAlias = dict[str, int | float | None]


def summary(question: Question) -> Figures:
    """The figures by which shapes are compared; None for memory where `hornbook.nn` has not the layers."""
    seq = question.tokens_of_a_sequence
    forward = forward_ledger(question.shape, causal_half=question.causal_half, **question.size)
    flops = sum(row.flops for row in forward)
    figures: Figures = {
        "parameters": num_parameters(question.shape),
        "forward FLOPs": flops,
        "training FLOPs a token": 3 * flops // (question.batch_size * seq),
    }
    figures |= _memory_figures(question)
    if question.tokens_per_second is not None and question.hardware is not None:
        shares = {row.convention: row.utilization for row in measured_utilization(question)}
        name = "MFU, causal half" if question.causal_half else "MFU, ledger"
        figures |= {"MFU": shares[name], "HFU": shares["HFU"]}
    time = run_time(question)
    if time is not None:
        figures["seconds"] = time.seconds
        if time.cost is not None:
            figures["cost"] = time.cost
    return figures


def _memory_figures(question: Question) -> Figures:
    figures: Figures = {"saved bytes": None, "peak bytes": None}
    if question.budget_bytes is not None:
        figures["largest batch"] = None
    if missing_layer(question.shape) is not None:
        return figures
    memory = training_memory(question.shape, question.settings, **question.size)
    figures |= {"saved bytes": memory.saved_bytes, "peak bytes": memory.peak_bytes}
    if question.budget_bytes is not None:
        try:
            figures["largest batch"] = largest_batch(question, question.budget_bytes)
        except ValueError:  # not even one sequence fits: in a comparison that is a figure
            figures["largest batch"] = 0
    return figures


def comparison(questions: Mapping[str, Question], format: TableFormat) -> str:  # noqa: A002
    """The figures of two shapes, and the second over the first."""
    (first, second), names = map(summary, questions.values()), ("figure", *questions, "ratio")
    rows = [(name, one, second[name], _ratio(second[name], one)) for name, one in first.items()]
    return table(names, rows, format)


def _ratio(number: float | None, over: float | None) -> float | None:
    return number / over if number is not None and over else None


def sweep(question: Question, field: str, values: Sequence[Any], format: TableFormat) -> str:  # noqa: A002
    """The figures for each value of a field of the shape, the settings, or the question itself."""
    rows = []
    names: tuple[str, ...] = ()
    for value in values:
        figures = summary(changed(question, field, value))
        names = (field, *figures)
        rows.append((str(value), *figures.values()))
    return table(names, rows, format)


def changed(question: Question, field: str, value: Any) -> Question:
    """The question with another value of a field of its shape, its settings, or itself.

    Raises:
        ValueError: If no part has such a field, or the value can't be one of it.
    """
    own = [one.name for one in fields(question) if one.name not in ("shape", "settings")]
    if field.endswith("_bytes") and isinstance(value, str):
        value = parse_bytes(value)
    if field in own:
        if field == "hardware":
            value = find_hardware(str(value))
        return replace(question, **{field: value})
    for part in ("shape", "settings"):
        old = getattr(question, part)
        if field in {one.name for one in fields(old)}:
            return replace(question, **{part: replace(old, **{field: value})})
    have = [one.name for part in (question.shape, question.settings) for one in fields(part)]
    msg = f"there is no field {field!r} to sweep over; there are {', '.join([*own, *have])}"
    raise ValueError(msg)
