"""Learning-rate schedules: functions from the step, or whatever measures progress, to the rate.

The first step is step 0. To apply one, set the rate before the step:

    for group in optimizer.param_groups:
        group["lr"] = schedule(step)

`lr_schedule` makes one of a shape: the way down from 1 to 0 as a function of the fraction that is past.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from ._checks import require_count, require_number

Schedule: TypeAlias = Callable[[int], float]
"""The learning rate as a function of the step, counted from 0."""

Shape: TypeAlias = Callable[[float], float]
"""The height, 1 at most and 0 at least, as a function of the elapsed fraction, from 0 to 1."""


def constant(_fraction: float) -> float:
    """Stay at 1."""
    return 1.0


def linear(fraction: float) -> float:
    """Fall along a straight line: `1 - fraction`."""
    return 1.0 - fraction


def cosine(fraction: float) -> float:
    """Fall along half a cosine, `(1 + cos(pi * fraction)) / 2` (Loshchilov & Hutter, "SGDR", 2017)."""
    return (1 + math.cos(math.pi * fraction)) / 2


def trapezoid(decay_fraction: float) -> Shape:
    """Stay at 1, then fall along a straight line in the last `decay_fraction` of the way.

    Known as WSD: warmup, stable, decay (Hu et al., "MiniCPM", 2024; Hägele et al., "Scaling laws and
    compute-optimal training beyond fixed training durations", 2024, who advise a fifth). The run may be
    prolonged from any point before the fall.

    Args:
        decay_fraction: More than 0, 1 at most, which is `linear`.

    Raises:
        ValueError: If `decay_fraction` is out of range.
        TypeError: If it is not a number.

    Example:
        >>> [trapezoid(0.5)(fraction) for fraction in (0.0, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 0.5, 0.0]
    """
    require_number("decay_fraction", decay_fraction, above=0)
    if decay_fraction > 1:
        msg = f"decay_fraction must be at most 1, got {decay_fraction}"
        raise ValueError(msg)
    return lambda fraction: min(1.0, (1.0 - fraction) / decay_fraction)


def lr_schedule(
    shape: Shape, *, max_lr: float, min_lr: float = 0.0, warmup: float = 0, end: float
) -> Callable[[float], float]:
    """Rise linearly to `max_lr`, then go along a shape to `min_lr`.

        max_lr * t / warmup                                                for  t < warmup
        min_lr + shape((t - warmup) / (end - warmup)) * (max_lr - min_lr)  for  warmup <= t <= end

    and from `end` on as at `end`. t is in the unit of `warmup` and `end`, whatever it is: steps, tokens,
    seconds, or, with `end=1`, the elapsed fraction of a run that is limited by the wall clock.

    Args:
        shape: `constant`, `linear`, `cosine`, `trapezoid(...)` or a function of your own.
        max_lr: Rate at `warmup`.
        min_lr: Rate where the shape is 0; 0 at least, `max_lr` at most.
        warmup: Length of the rise; 0 for none. At 0 a rise has rate 0.
        end: Where the shape ends, counted from the start of training, not of the shape. A run of n steps
            does steps 0 to n - 1: with n - 1 here, its last step has the shape's last height.

    Raises:
        ValueError: If the shape would not end after the warmup, or a value is out of range; when called, if
            t is negative or not finite.
        TypeError: If a value is not a number, or `shape` not a function.

    Example:
        >>> by_step = lr_schedule(linear, max_lr=1.0, warmup=4, end=8)
        >>> [by_step(step) for step in (0, 2, 4, 6, 8, 100)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
        >>> by_time = lr_schedule(trapezoid(0.5), max_lr=1.0, warmup=0.2, end=1)
        >>> [round(by_time(seconds / 60), 3) for seconds in (0, 6, 12, 36, 48, 60)]
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if not callable(shape):
        msg = f"shape must be a function of the elapsed fraction, such as cosine, got {shape!r}"
        raise TypeError(msg)
    require_number("max_lr", max_lr, least=0)
    require_number("min_lr", min_lr, least=0)
    require_number("warmup", warmup, least=0)
    require_number("end", end, least=0)
    if min_lr > max_lr:
        msg = f"min_lr must not exceed max_lr, got {min_lr} and {max_lr}"
        raise ValueError(msg)
    if end <= warmup:
        msg = (
            f"end must be more than warmup, got {end} and {warmup}; "
            "it counts from the start of training, so it includes the warmup"
        )
        raise ValueError(msg)

    def rate(t: float) -> float:
        require_number("t", t, least=0)
        if t < warmup:
            return max_lr * t / warmup
        return min_lr + shape(min(1.0, (t - warmup) / (end - warmup))) * (max_lr - min_lr)

    return rate


def cosine_schedule(*, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int) -> Schedule:
    """Rise linearly to `max_lr`, then fall to `min_lr` along half a cosine.

    This is `lr_schedule` of `cosine`, in steps. With Tw = `warmup_steps` and Tc = `cosine_steps`, the rate at
    step t is

        max_lr * t / Tw                                                        for  t < Tw
        min_lr + (1 + cos(pi * (t - Tw) / (Tc - Tw))) / 2 * (max_lr - min_lr)  for  Tw <= t <= Tc
        min_lr                                                                 for  Tc < t

    (Loshchilov & Hutter, "SGDR", 2017, without restarts; the warmup as in LLaMA).

    Args:
        max_lr: Rate at step `warmup_steps`.
        min_lr: Rate from step `cosine_steps` on; 0 at least, `max_lr` at most.
        warmup_steps: Length of the rise, in optimizer steps; 0 for none. Step 0 of a rise has rate 0.
        cosine_steps: Step at which the fall ends, counted from the start of training, not of the fall. A
            run of n steps does steps 0 to n - 1: with n - 1 here, its last step has rate `min_lr`.

    Raises:
        ValueError: If the cosine would not end after the warmup, or a value is out of range.
        TypeError: If a rate is not a number or a number of steps not an int.

    Example:
        >>> lr = cosine_schedule(max_lr=1.0, min_lr=0.1, warmup_steps=4, cosine_steps=8)
        >>> [round(lr(step), 2) for step in (0, 2, 4, 6, 8, 100)]
        [0.0, 0.5, 1.0, 0.55, 0.1, 0.1]
    """
    require_count("warmup_steps", warmup_steps)
    require_count("cosine_steps", cosine_steps)
    if cosine_steps <= warmup_steps:
        msg = (
            f"cosine_steps must be more than warmup_steps, got {cosine_steps} and {warmup_steps}; "
            "it counts from the start of training, so it includes the warmup"
        )
        raise ValueError(msg)
    schedule = lr_schedule(cosine, max_lr=max_lr, min_lr=min_lr, warmup=warmup_steps, end=cosine_steps)

    def rate(step: int) -> float:
        require_count("step", step)
        return schedule(step)

    return rate


def inverse_sqrt_schedule(*, max_lr: float) -> Schedule:
    """Fall with the square root of the number of steps: `max_lr / sqrt(step + 1)`.

    Args:
        max_lr: Rate at step 0.

    Raises:
        ValueError: If `max_lr` is out of range.
        TypeError: If `max_lr` is not a number.

    Example:
        >>> lr = inverse_sqrt_schedule(max_lr=6.0)
        >>> [lr(step) for step in (0, 3, 8)]
        [6.0, 3.0, 2.0]
    """
    require_number("max_lr", max_lr, least=0)

    def rate(step: int) -> float:
        require_count("step", step)
        return max_lr / math.sqrt(step + 1)

    return rate
