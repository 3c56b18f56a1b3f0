"""What the command line prints, section by section, and shapes side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .duration import training_time
from .flops import forward_flops, forward_ledger, training_flops, training_ledger
from .hardware import DType, Hardware
from .inference import decode_ledger, kv_cache_bytes
from .memory import StepSettings, max_batch_size, training_memory
from .meters import utilization
from .parameters import num_non_embedding_parameters, num_parameters, parameter_ledger
from .rooflines import roofline
from .shape import Shape
from .tables import TableFormat, ledger_table, table
from .units import format_bytes, format_count, format_flops, format_seconds


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


def section(name: str, question: Question) -> tuple[Sequence[Any], str]:
    """The rows of a section and a sentence about them.

    Args:
        name: One of `SECTIONS`.
        question: What it is about.

    Raises:
        ValueError: If the section needs hardware and none is given, or as the formulas do.
    """
    shape, settings = question.shape, question.settings
    if name == "parameters":
        total, others = num_parameters(shape), num_non_embedding_parameters(shape)
        counts = f"{format_count(total)} parameters, {format_count(others)} without embedding and head"
        return parameter_ledger(shape), counts
    if name == "forward":
        rows = forward_ledger(shape, causal_half=question.causal_half, **question.size)
        forward = sum(row.flops for row in rows)
        sums = f"forward {format_flops(forward)}, forward and backward {format_flops(3 * forward)}"
        return rows, f"{sums}\n{_CONVENTION[question.causal_half]}"
    if name == "training":
        ledger = training_ledger(
            shape,
            attention=settings.attention,
            checkpointing=settings.checkpointing,
            optimizer=settings.optimizer,
            causal_half=question.causal_half,
            **question.size,
        )
        sentence = f"what the hardware does in a step, with {settings.optimizer}"
        return ledger, f"{sentence}\n{_CONVENTION[question.causal_half]}"
    if name == "memory":
        return _memory(question)
    if name == "decode":
        cached = (question.sequence_length or shape.context_length) - 1
        room = kv_cache_bytes(shape, batch_size=question.batch_size)
        rows = decode_ledger(shape, batch_size=question.batch_size, cached_tokens=cached)
        note = f"one token after {cached:,}; a full context of keys and values: {format_bytes(room)} in fp32"
        return rows, note

    if question.hardware is None:
        msg = f"{name} is of a device: give --hardware"
        raise ValueError(msg)
    if name == "utilization":
        if question.tokens_per_second is None:
            msg = "utilization is of a measured speed: give --tokens-per-second"
            raise ValueError(msg)
        conventions = utilization(
            shape,
            tokens_per_second=question.tokens_per_second,
            peak_flops_per_second=question.hardware.peak(question.dtype),
            attention=settings.attention,
            checkpointing=settings.checkpointing,
            num_devices=question.num_devices,
        )
        return conventions, f"of {question.hardware.name}'s dense peak in {question.dtype}"
    rows_ = roofline(shape, hardware=question.hardware, dtype=question.dtype, **question.size)
    return rows_, f"{question.hardware.name}, {question.dtype}: one layer, each number moved once"


_CONVENTION = {
    half: f"(matrix multiplies, 2 per multiply-add, causal attention {'' if half else 'not '}halved)"
    for half in (False, True)
}
SECTIONS = ("parameters", "forward", "training", "memory", "decode", "roofline", "utilization")
NO_SUMS = ("roofline", "utilization")  # their rows are alternatives


def _memory(question: Question) -> tuple[Sequence[Any], str]:
    memory = training_memory(question.shape, question.settings, **question.size)
    peaks = ", ".join(f"{phase} {format_bytes(peak)}" for phase, peak in memory.peaks.items())
    parts = memory.moments[memory.peak_phase]._asdict().items()
    at_peak = ", ".join(f"{part} {format_bytes(num_bytes)}" for part, num_bytes in parts)
    note = (
        f"saved {format_bytes(memory.saved_bytes)}; peaks: {peaks}\n"
        f"at the highest: {at_peak} (the rows are never all there at once)"
    )
    if question.budget_bytes is not None:
        largest = _largest(question, question.budget_bytes)
        note += f"\nlargest batch in {format_bytes(question.budget_bytes)}: {largest}"
    return memory.rows, note


def _largest(question: Question, budget: int) -> int:
    return max_batch_size(question.shape, budget, question.settings, sequence_length=question.sequence_length)


def run_line(question: Question) -> str | None:
    """Tokens, FLOPs, time and cost of the whole run, if it was asked for."""
    seq = question.sequence_length or question.shape.context_length
    num_tokens = question.num_tokens or (question.num_steps or 1) * question.batch_size * seq
    if question.mfu is None or question.hardware is None:
        if question.num_steps is None or question.num_steps == 1:
            return None
        flops = question.num_steps * training_flops(question.shape, **question.size)
        return f"{question.num_steps:,} steps: {format_count(num_tokens)} tokens, {format_flops(flops)}"
    time = training_time(
        replace(question.shape, context_length=seq),
        hardware=question.hardware,
        dtype=question.dtype,
        mfu=question.mfu,
        num_tokens=num_tokens,
        batch_size=question.batch_size,
        num_devices=question.num_devices,
        cost_per_device_hour=question.cost_per_device_hour,
    )
    line = (
        f"{time.num_steps:,} steps: {format_count(time.num_tokens)} tokens, {format_flops(time.flops)}, "
        f"{format_seconds(time.seconds)}"
    )
    hours = f"{time.device_hours:,.1f} device hours"
    return line if time.cost is None else f"{line}, {hours}, cost {time.cost:,.2f}"


def summary(question: Question) -> dict[str, int | float]:
    """The figures by which shapes are compared."""
    memory = training_memory(question.shape, question.settings, **question.size)
    seq = question.sequence_length or question.shape.context_length
    figures: dict[str, int | float] = {
        "parameters": num_parameters(question.shape),
        "forward FLOPs": forward_flops(question.shape, **question.size),
        "training FLOPs a token": training_flops(question.shape, sequence_length=seq) // seq,
        "saved bytes": memory.saved_bytes,
        "peak bytes": memory.peak_bytes,
    }
    if question.budget_bytes is not None:
        try:
            figures["largest batch"] = _largest(question, question.budget_bytes)
        except ValueError:  # not even one sequence fits: in a comparison that is a figure
            figures["largest batch"] = 0
    return figures


def comparison(questions: Mapping[str, Question], format: TableFormat) -> str:  # noqa: A002
    """The figures of two shapes, and the second over the first."""
    (first, second), names = map(summary, questions.values()), ("figure", *questions, "ratio")
    ratios = {name: second[name] / first[name] if first[name] else None for name in first}
    rows = [(name, first[name], second[name], ratios[name]) for name in first]
    return table(names, rows, format)


def sweep(question: Question, field: str, values: Sequence[Any], format: TableFormat) -> str:  # noqa: A002
    """The figures for each value of a field of the shape, the settings, or of the batch."""
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
        ValueError: If no part has such a field.
    """
    if field in ("batch_size", "sequence_length"):
        return replace(question, **{field: value})
    for part in ("shape", "settings"):
        old = getattr(question, part)
        if field in {one.name for one in fields(old)}:
            return replace(question, **{part: replace(old, **{field: value})})
    have = [one.name for part in (question.shape, question.settings) for one in fields(part)]
    names = ", ".join(["batch_size", "sequence_length", *have])
    msg = f"there is no field {field!r} to sweep over; there are {names}"
    raise ValueError(msg)


def written(question: Question, names: Sequence[str], format: TableFormat) -> Iterator[str]:  # noqa: A002
    """Each section as text."""
    for name in names:
        rows, note = section(name, question)
        yield ledger_table(rows, format, total=name not in NO_SUMS)
        if format not in ("csv", "json"):
            yield note
            yield ""


def as_data(question: Question, names: Sequence[str]) -> dict[str, Any]:
    """All sections as JSON has them."""
    data: dict[str, Any] = {"shape": asdict(question.shape), "settings": asdict(question.settings)}
    for name in names:
        rows = section(name, question)[0]
        data[name] = [row._asdict() for row in rows]
    return data
