"""What every benchmark needs: the machine, alternating repetitions, medians with spread."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a contestant, one entry a repetition."""

    wall: list[float]
    cpu: list[float]  # of this process, its threads and the processes it started and waited for


def alternate(contestants: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, Timing]:
    """Time each contestant in turn, round after round: what the machine does meanwhile hits all of them."""
    timings = {name: Timing([], []) for name in contestants}
    for contestant in contestants.values():
        contestant()  # warm up
    for _ in range(repetitions):
        for name, contestant in contestants.items():
            wall, cpu = time.perf_counter(), _cpu_seconds()
            contestant()
            timings[name].wall.append(time.perf_counter() - wall)
            timings[name].cpu.append(_cpu_seconds() - cpu)
    return timings


def print_table(title: str, timings: Mapping[str, Timing], amount: float, unit: str, *, cpu: bool) -> None:
    """Print amount a second, median and range, and the ratio to the first contestant.

    Args:
        title: What was done.
        timings: By contestant; the first one is ours.
        amount: How much each repetition did.
        unit: Of the amount.
        cpu: Whether to divide by CPU seconds or by seconds of the wall clock.
    """
    print(f"\n{title}, {unit} per {'CPU second' if cpu else 'second'}: median (range) of alternating runs")
    ours = None
    for name, timing in timings.items():
        seconds = timing.cpu if cpu else timing.wall
        median = amount / statistics.median(seconds)
        ours = ours or median
        spread = f"({amount / max(seconds):,.3g} to {amount / min(seconds):,.3g})"
        print(f"  {name:<34} {median:>12,.4g} {spread:<26} ours / this = {ours / median:.2f}")


def print_machine() -> None:
    """Print what the figures were measured on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    print(f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, {platform.system()}")


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
