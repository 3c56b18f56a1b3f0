"""What a run will be, before it is: settings, size, cost."""

import math
from dataclasses import asdict
from typing import Any

import torch

from hornbook.accounting import (
    format_bytes,
    forward_flops,
    num_non_embedding_parameters,
    num_parameters,
    training_flops,
)

from .console import say
from .device import matmul_flops_per_second, peak_flops_per_second
from .experiment import Experiment
from .memory import available_bytes, predicted_memory

# Rough share of the speed of a bare matrix product that training reaches. Eager, the demo model did 24 to
# 64 % on two CPU cores, as the machine drifted; the compiled share is a guess. The live bar soon knows
# better.
TYPICAL_SHARE = {True: 0.45, False: 0.3}  # compiled, not


def describe(experiment: Experiment, device: torch.device, num_processes: int = 1) -> float:
    """Print the settings, the parameters, the FLOPs, the predicted memory and time.

    Returns:
        The measured speed of a matrix product, in FLOP/s.
    """
    for title, fields in _settings(experiment).items():
        say(f"{title}: " + ", ".join(f"{name} {value}" for name, value in fields.items()))
    shape = experiment.model
    flops_per_step = training_flops(shape, batch_size=experiment.batch_size)
    speed = matmul_flops_per_second(
        device,
        experiment.precision,
        rows=min(experiment.tokens_per_step, 2**14),  # more rows run no faster, and might not fit
        inner=shape.d_model,
        columns=shape.d_ff,
    )
    share = TYPICAL_SHARE[experiment.compile]
    say(
        f"size: {num_parameters(shape):,} parameters "
        f"({num_non_embedding_parameters(shape):,} without the embeddings), "
        f"{forward_flops(shape) / shape.context_length / 1e6:,.3g} MFLOP forward a token"
    )
    memory, free = predicted_memory(experiment, device.type, num_processes), available_bytes(device)
    say(
        f"memory: about {format_bytes(memory.peak_bytes)} at the peak, in the {memory.peak_phase}"
        + ("" if num_processes == 1 else " of each process")
        + f"; the forward pass saves {format_bytes(memory.saved_bytes)}"
        + ("" if free is None else f"; {format_bytes(free)} are free on {device}")
    )
    speeds = f"matrix products run at {speed / 1e9:,.0f} GFLOP/s here, training at about {share:.0%} of that"
    limit = experiment.loop.max_seconds
    if experiment.planned_steps is not None:
        total = flops_per_step * experiment.planned_steps
        cut = "" if limit is None else f", {duration(limit)} at most"
        say(
            f"cost: {experiment.num_tokens:,} tokens, {total / 1e15:.3g} PFLOP; {speeds}: "
            f"about {duration(predicted_seconds(experiment, speed))} with the evaluations{cut}"
        )
    elif limit is not None:
        num_steps = limit * speed * share / flops_per_step
        say(f"cost: {duration(limit)}; {speeds}: about {num_steps * experiment.tokens_per_step:,.0f} tokens")
    peak, source = peak_flops_per_second(device, experiment.precision, speed)
    devices = "" if num_processes == 1 else f", times {num_processes} processes"
    say(f"MFU: share of {peak / 1e12:,.4g} TFLOP/s, {source}{devices}")
    return speed


def predicted_seconds(experiment: Experiment, matmul_speed: float) -> float:
    """Predict how long a run takes, as roughly as its speed is known: its updates and its evaluations.

    Args:
        experiment: The run.
        matmul_speed: Of a matrix product, in FLOP/s.
    """
    limit = experiment.loop.max_seconds or math.inf
    num_steps = experiment.planned_steps
    if num_steps is None:
        return limit
    windows = experiment.eval_windows * (num_steps // experiment.loop.eval_interval_steps)
    flops = num_steps * training_flops(experiment.model, batch_size=experiment.batch_size)
    flops += (windows + experiment.final_eval_windows) * forward_flops(experiment.model)
    return min(limit, flops / (matmul_speed * TYPICAL_SHARE[experiment.compile]))


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    Example:
        >>> duration(42), duration(200), duration(9000), duration(200_000)
        ('42 s', '3.3 min', '2.5 h', '2.3 days')
    """
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} s" if unit == "s" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def _settings(experiment: Experiment) -> dict[str, dict[str, Any]]:
    fields = asdict(experiment)
    nested = {name: value for name, value in fields.items() if isinstance(value, dict)}
    return nested | {"run": {name: value for name, value in fields.items() if name not in nested}}
