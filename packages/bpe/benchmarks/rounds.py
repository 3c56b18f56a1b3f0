"""Alternating rounds, and what they say: medians and ratios with their range, each beside its target."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from fresh import Measured

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from common import print_machine

__all__ = ["alternate", "print_machine", "print_ratios", "verdict"]


def alternate(
    contestants: Mapping[str, Callable[[], Measured]],
    repetitions: int,
    fewer: Mapping[str, int] | None = None,
) -> dict[str, list[Measured]]:
    """Measure each contestant in turn, round after round: what the machine does meanwhile hits all of them.

    Args:
        contestants: What to run, by name. The names may begin alike; ours comes first.
        repetitions: Rounds.
        fewer: In how many of the rounds a slow contestant takes part, by the first word of its name.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in contestants}
    for round_number in range(repetitions):
        for name, contestant in contestants.items():
            if round_number < (fewer or {}).get(name.split()[0], repetitions):
                measured[name].append(contestant())
    return measured


def print_ratios(
    title: str,
    measured: Mapping[str, Sequence[Measured]],
    megabytes: float,
    *,
    clock: Literal["cpu", "wall"],
    targets: Mapping[str, float],
) -> None:
    """Print MB a second of each contestant, and how many times as fast the first one is.

    Args:
        title: What was done.
        measured: By contestant, one entry a round; the first one is ours.
        megabytes: How much each of them did in a round.
        clock: Whether to divide by CPU seconds of all threads or by seconds of the wall clock.
        targets: The least ratio wanted, by the first word of a contestant's name.
    """
    unit = "MB per CPU second" if clock == "cpu" else "MB per second"
    print(f"\n{title}: {unit}, median (range) of alternating rounds")
    seconds = {name: [getattr(one, clock) for one in rounds] for name, rounds in measured.items() if rounds}
    ours = next(iter(seconds.values()))
    for name, own in seconds.items():
        line = f"  {name:<30} {_median_and_range([megabytes / one for one in own]):<28}"
        if own is not ours:
            ratios = [theirs / mine for theirs, mine in zip(own, ours, strict=False)]
            line += f" ours / this = {_median_and_range(ratios)}"
            target = targets.get(name.split()[0])
            if target is not None:
                line += _said(statistics.median(ratios) >= target, f"at least {target:g}")
        print(line.rstrip(), flush=True)


def verdict(what: str, values: Sequence[float], unit: str, at_most: float) -> None:
    """Print the median of what should stay below a limit."""
    met = _said(statistics.median(values) <= at_most, f"at most {at_most:.4g} {unit}")
    print(f"  {what:<52} {_median_and_range(values)} {unit}{met}", flush=True)


def _median_and_range(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:,.4g} (once)"
    return f"{statistics.median(values):,.4g} ({min(values):,.3g} to {max(values):,.3g})"


def _said(met: bool, target: str) -> str:
    return f"  {'PASS' if met else 'SHORT'}: {target}"
