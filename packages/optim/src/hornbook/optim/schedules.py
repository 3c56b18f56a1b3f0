"""Learning-rate schedules: functions from the step to the rate.

The first step is step 0. To apply one, set the rate before the step:

    for group in optimizer.param_groups:
        group["lr"] = schedule(step)
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from ._checks import require_count, require_number

Schedule: TypeAlias = Callable[[int], float]
"""The learning rate as a function of the step, counted from 0."""


def cosine_schedule(*, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int) -> Schedule:
    """Rise linearly to `max_lr`, then fall to `min_lr` along half a cosine.

    With Tw = `warmup_steps` and Tc = `cosine_steps`, the rate at step t is

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
    require_number("max_lr", max_lr, least=0)
    require_number("min_lr", min_lr, least=0)
    require_count("warmup_steps", warmup_steps)
    require_count("cosine_steps", cosine_steps)
    if min_lr > max_lr:
        msg = f"min_lr must not exceed max_lr, got {min_lr} and {max_lr}"
        raise ValueError(msg)
    if cosine_steps <= warmup_steps:
        msg = (
            f"cosine_steps must be more than warmup_steps, got {cosine_steps} and {warmup_steps}; "
            "it counts from the start of training, so it includes the warmup"
        )
        raise ValueError(msg)

    def rate(step: int) -> float:
        require_count("step", step)
        if step < warmup_steps:
            return max_lr * step / warmup_steps
        if step > cosine_steps:
            return min_lr
        progress = (step - warmup_steps) / (cosine_steps - warmup_steps)
        return min_lr + (1 + math.cos(math.pi * progress)) / 2 * (max_lr - min_lr)

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
