"""What the command line prints, section by section."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .figures import Question, largest_batch, measured_utilization, run_time, summary
from .flops import forward_ledger, training_flops, training_ledger
from .inference import decode_ledger, kv_cache_bytes, prefill_ledger
from .memory import training_memory
from .parameters import num_non_embedding_parameters, num_parameters, parameter_ledger
from .rooflines import roofline
from .tables import TableFormat, ledger_table
from .units import format_bytes, format_count, format_flops, format_seconds


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
    if name == "prefill":
        prompt = question.tokens_of_a_sequence
        note = f"a prompt of {prompt:,} tokens, and the scores of the token after it"
        return prefill_ledger(shape, batch_size=question.batch_size, prompt_tokens=prompt), note
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
        return measured_utilization(question), f"of {question.hardware.name}'s dense peak in {question.dtype}"
    rows_ = roofline(shape, hardware=question.hardware, dtype=question.dtype, **question.size)
    return rows_, f"{question.hardware.name}, {question.dtype}: one layer, each number moved once"


_CONVENTION = {
    half: f"(matrix multiplies, 2 per multiply-add, causal attention {'' if half else 'not '}halved)"
    for half in (False, True)
}
SECTIONS = ("parameters", "forward", "training", "memory", "prefill", "decode", "roofline", "utilization")
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
        largest = largest_batch(question, question.budget_bytes)
        note += f"\nlargest batch in {format_bytes(question.budget_bytes)}: {largest}"
    return memory.rows, note


def run_line(question: Question) -> str | None:
    """Tokens, FLOPs, time and cost of the whole run, if it was asked for."""
    time = run_time(question)
    if time is None:
        if question.num_steps is None and question.num_tokens is None:
            return None
        seq = question.tokens_of_a_sequence
        tokens = question.num_tokens or (question.num_steps or 1) * question.batch_size * seq
        steps = -(-tokens // (question.batch_size * seq))
        flops = training_flops(question.shape, sequence_length=seq) * tokens // seq
        return f"{_steps(steps)}: {format_count(tokens)} tokens, {format_flops(flops)}"
    line = (
        f"{_steps(time.num_steps)}: {format_count(time.num_tokens)} tokens, {format_flops(time.flops)}, "
        f"{format_seconds(time.seconds)}"
    )
    hours = f"{time.device_hours:,.1f} device hours"
    return line if time.cost is None else f"{line}, {hours}, cost {time.cost:,.2f}"


def _steps(number: int | None) -> str:
    return "1 step" if number == 1 else f"{number:,} steps"


def written(question: Question, names: Sequence[str], format: TableFormat) -> Iterator[str]:  # noqa: A002
    """Each section as text."""
    for name in names:
        rows, note = section(name, question)
        yield ledger_table(rows, format, total=name not in NO_SUMS)
        if format not in ("csv", "json"):
            yield remark(note, format)
            yield ""


def remark(text: str, format: TableFormat) -> str:  # noqa: A002
    """What stands beside a table: in LaTeX comments, since it is full of its signs."""
    return "\n".join(f"% {line}" for line in text.split("\n")) if format == "latex" else text


def as_data(question: Question, names: Sequence[str]) -> dict[str, Any]:
    """All sections as JSON has them, and the figures that stand below and between them in text."""
    data: dict[str, Any] = {"shape": asdict(question.shape), "settings": asdict(question.settings)}
    data["figures"] = summary(question)
    for name in names:
        rows = section(name, question)[0]
        data[name] = [row._asdict() for row in rows]
    return data
