"""Which runs a sweep has. A plan is a function of the outcomes so far, so it is the same after a kill."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..experiment import Experiment
from .outcome import Outcome
from .point import MAX_LR, Point, combinations, point

Plan = Callable[[Mapping[str, Outcome]], list[Point]]
"""Takes outcomes by name; returns all points that are known to be wanted, in order."""

Prune = Callable[[str, Sequence[tuple[int, float]], Mapping[str, Outcome]], bool]
"""Takes the name of a run that goes on, its evaluations (step, loss) and the outcomes so far; tells whether
to end it."""

_MAX_RATES = 12
_FEWEST_STEPS = 20  # a batch that leaves fewer updates says nothing


def grid_plan(grid: Mapping[str, Sequence[Any]]) -> Plan:
    """Every combination of values."""
    points = combinations(grid)
    return lambda _outcomes: points


def lr_plan(rates: Sequence[float], *, edge_runs: int = 0) -> Plan:
    """Learning rates, the lowest first, up to the first that diverges; then closer to that edge.

    Args:
        rates: On a log grid.
        edge_runs: So many times the middle, on a log scale, of the highest rate that is stable and the lowest
            that is not.
    """
    ordered = [point({MAX_LR: rate}) for rate in sorted(set(rates))]

    def plan(outcomes: Mapping[str, Outcome]) -> list[Point]:
        points: list[Point] = []
        for one in ordered:
            points.append(one)
            if one.name in outcomes and not outcomes[one.name].stable:
                break
        for _ in range(edge_runs):
            known = [(one.value(MAX_LR), outcomes[one.name]) for one in points if one.name in outcomes]
            good = [rate for rate, outcome in known if outcome.stable]
            bad = [rate for rate, outcome in known if outcome.diverged]
            if len(known) < len(points) or not good or not bad:
                break
            points.append(point({MAX_LR: float(f"{math.sqrt(max(good) * min(bad)):.3g}")}))
        return points

    return plan


def rates_around(max_lr: float, factor: float) -> list[float]:
    """Return a log grid that begins well below a rate and goes far beyond it.

    Example:
        >>> rates_around(6e-3, 10.0)[:4]
        [0.0006, 0.006, 0.06, 0.6]
    """
    return [float(f"{max_lr / 10 * factor**index:.3g}") for index in range(_MAX_RATES)]


def batch_plan(base: Experiment, sizes: Sequence[int], *, rate_factors: Sequence[float]) -> Plan:
    """Batch sizes, the smallest first, until one doesn't fit into memory; each with rates of its own.

    All see the same number of tokens, so that the number of updates falls as the batch grows, and what is
    counted in steps with it. The rates lie around the base's, scaled with the square root of the batch size.

    Args:
        base: The experiment whose tokens are kept.
        sizes: In windows.
        rate_factors: What the scaled rate is multiplied by.

    Raises:
        ValueError: If the run is limited by the clock alone, or too short for any of the sizes.
    """
    num_steps = base.planned_steps
    if num_steps is None:
        msg = "a sweep of batch sizes keeps the number of tokens: give --num-steps or --max-tokens"
        raise ValueError(msg)
    windows = num_steps * base.batch_size
    ladder = {}
    for size in sorted(set(sizes)):
        steps = round(windows / size)
        if steps >= _FEWEST_STEPS:
            ladder[size] = [_batch_point(base, size, steps, factor) for factor in sorted(rate_factors)]
    if not ladder:
        msg = (
            f"no batch size of {', '.join(map(str, sizes))} leaves {_FEWEST_STEPS} updates or more of "
            f"{windows:,} windows: give smaller --sizes or more --num-steps"
        )
        raise ValueError(msg)

    def plan(outcomes: Mapping[str, Outcome]) -> list[Point]:
        points: list[Point] = []
        for ones in ladder.values():
            points += ones
            if any(one.name in outcomes and outcomes[one.name].status == "out of memory" for one in ones):
                break
        return points

    return plan


def _batch_point(base: Experiment, size: int, steps: int, factor: float) -> Point:
    rate = base.optimizer.max_lr * math.sqrt(size / base.batch_size) * factor
    share = base.batch_size / size
    changes = {
        "batch_size": size,
        MAX_LR: float(f"{rate:.3g}"),
        "loop.num_steps": steps,
        "loop.max_tokens": None,
        "loop.eval_interval_steps": max(1, round(base.loop.eval_interval_steps * share)),
        "loop.checkpoint_interval_steps": max(1, round(base.loop.checkpoint_interval_steps * share)),
        "schedule.warmup_steps": min(steps - 1, round(base.schedule.warmup_steps * share)),
    }
    return point(changes, shown=("batch_size", MAX_LR))
