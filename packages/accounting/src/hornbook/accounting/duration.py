"""How long the operations take."""

from ._checks import require_number


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
