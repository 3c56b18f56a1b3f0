"""How long a run takes, and what it costs: tokens, steps, FLOPs and devices never mixed up."""

from typing import NamedTuple

from ._checks import require_number, require_positive_int
from .flops import training_flops
from .hardware import DType, Hardware
from .shape import TransformerShape, checked


class TrainingTime(NamedTuple):
    """A run, in units that are written out."""

    num_tokens: int
    num_steps: int | None
    """Updates, where a batch was given."""
    flops: int
    """Useful FLOPs of the whole run, of all devices together."""
    flops_per_second: float
    """What all devices reach together: devices x peak x MFU."""
    seconds: float
    device_hours: float
    cost: float | None
    """In the currency of the price, where one was given."""


def training_time(
    shape: TransformerShape,
    *,
    hardware: Hardware,
    dtype: DType,
    mfu: float,
    num_tokens: int | None = None,
    num_steps: int | None = None,
    batch_size: int | None = None,
    num_devices: int = 1,
    cost_per_device_hour: float | None = None,
) -> TrainingTime:
    """Predict how long training takes.

        seconds = training FLOPs of the run / (num_devices · peak · mfu)

    Either the tokens are given, or steps and batch; never both. Sequences are of context length.

    Args:
        shape: A model's config or a `Shape`.
        hardware: See `find_hardware`.
        dtype: What the matrix products run in.
        mfu: Share of the peak that becomes useful work: more than 0, at most 1.
        num_tokens: Tokens of the whole run, not of a step.
        num_steps: Updates.
        batch_size: Sequences an update sees, over all devices.
        num_devices: How many share the work.
        cost_per_device_hour: Price of one device for one hour.

    Raises:
        ValueError: If a number is out of range, the device lacks the dtype, or not exactly one of tokens and
            steps with batch is given.
        TypeError: If a number is of the wrong type.

    Example:
        GPT-2 XL's shape for 400,000 steps of 1,024 sequences, on one A100 in float32 at half its peak:

        >>> from hornbook.accounting import GPT2_XL, find_hardware
        >>> time = training_time(
        ...     GPT2_XL,
        ...     hardware=find_hardware("a100"),
        ...     dtype="fp32",
        ...     mfu=0.5,
        ...     num_steps=400_000,
        ...     batch_size=1_024,
        ... )
        >>> print(f"{time.num_tokens:,} tokens, {time.seconds / 86_400:.1f} days")
        419,430,400,000 tokens, 6583.6 days
    """
    shape = checked(shape)
    for name, value in (("num_tokens", num_tokens), ("num_steps", num_steps), ("batch_size", batch_size)):
        if value is not None:
            require_positive_int(name, value)
    require_positive_int("num_devices", num_devices)
    require_number("mfu", mfu, at_most=1)
    if cost_per_device_hour is not None:
        require_number("cost_per_device_hour", cost_per_device_hour, zero=True)
    if (num_tokens is None) == (num_steps is None or batch_size is None):
        given = f"num_tokens={num_tokens}, num_steps={num_steps}, batch_size={batch_size}"
        msg = f"give either num_tokens, or num_steps and batch_size, got {given}"
        raise ValueError(msg)
    if num_tokens is None:
        assert num_steps is not None and batch_size is not None
        num_tokens = num_steps * batch_size * shape.context_length
    elif batch_size is not None:
        num_steps = -(-num_tokens // (batch_size * shape.context_length))
    flops = training_flops(shape) * num_tokens // shape.context_length
    speed = num_devices * hardware.peak(dtype) * mfu
    seconds = flops / speed
    hours = num_devices * seconds / 3_600
    cost = None if cost_per_device_hour is None else hours * cost_per_device_hour
    return TrainingTime(num_tokens, num_steps, flops, speed, seconds, hours, cost)


def training_seconds(flops: float, *, peak_flops_per_second: float, mfu: float) -> float:
    """Seconds that a device needs for `flops` at a given share of its peak.

        seconds = flops / (peak_flops_per_second * mfu)

    Args:
        flops: FLOPs of the whole run: `training_flops` of one step times the number of steps.
        peak_flops_per_second: The device's dense peak for the dtype in use; 989e12 for bfloat16 on an H100.
            With several devices, their sum.
        mfu: Model FLOPs utilization, the share of the peak that becomes useful work: more than 0, at most 1
            (Chowdhery et al., "PaLM", 2022).

    Raises:
        ValueError: If `flops` is negative, the peak not positive or `mfu` not a share.
        TypeError: If a value is not a number.

    Example:
        GPT-2 XL's shape for 400,000 steps of 1,024 sequences, on one A100 in float32 at half its peak:

        >>> from hornbook.accounting import GPT2_XL, format_seconds, training_flops
        >>> flops = 400_000 * training_flops(GPT2_XL, batch_size=1_024)
        >>> seconds = training_seconds(flops, peak_flops_per_second=19.5e12, mfu=0.5)
        >>> print(f"{seconds / 86_400:.1f} days, {format_seconds(seconds)}")
        6583.6 days, 18 years
    """
    require_number("flops", flops, zero=True)
    require_number("peak_flops_per_second", peak_flops_per_second)
    require_number("mfu", mfu, at_most=1)
    return flops / (peak_flops_per_second * mfu)
