"""The command line of a sweep: that of a training app, and which runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ..flags import TrainFlags
from .plans import Plan, Prune, batch_plan, grid_plan, lr_plan, rates_around
from .point import MAX_LR, changed, parse_grid
from .search import check_optuna, parse_space, search_plan

SweepKind = Literal["lr", "batch", "grid", "search"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFlags(TrainFlags):
    """A training app's flags for many runs."""

    jobs: int = 1
    """Runs at once; they share the processors, and on a GPU its memory."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.jobs < 1:
            msg = f"--jobs must be at least 1, got {self.jobs}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepFlags(JobFlags):
    """Which runs, and what they share."""

    kind: tyro.conf.Positional[SweepKind] = "grid"
    """lr: learning rates up to the first that diverges; batch: batch sizes; grid: what --grid names;
    search: each run chosen from how those before it did (extra optuna)."""
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """FIELD=VALUE,VALUE,… such as optimizer.max_lr=1e-3,3e-3; several give every combination."""
    rates: tuple[float, ...] = ()
    """Of lr; by default from a tenth of --max-lr upwards, each --rate-step times the one before."""
    rate_step: float = 10**0.5
    """Of lr: factor between two rates."""
    edge_runs: int = 2
    """Of lr: runs that narrow down where divergence begins."""
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    """Of batch: windows a step; those that leave fewer than 20 updates, or need more memory than there is,
    are left out."""
    rate_factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Of batch: rates tried at each size, as multiples of --max-lr scaled with the root of the size."""
    space: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Of search: FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=VALUE,VALUE,…; by default the learning rate
    from a tenth of --max-lr to ten times it."""
    num_runs: int = 20
    """Of search: runs in all; more of them in a later call continue the search."""
    prune: bool = True
    """Of search: end a run whose loss is above the median of the runs before it at the same step."""


def check_positive(flag: str, values: Sequence[float]) -> None:
    """Refuse a list of numbers that is empty or has one that is not greater than 0.

    Raises:
        ValueError: Naming the flag and what was given.
    """
    if not values or min(values) <= 0:
        msg = f"--{flag} must be numbers greater than 0, got {' '.join(map(str, values)) or 'none'}"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A sweep as its flags mean it."""

    plan: Plan
    about: dict[str, object]  # what tells it from others
    prune: Prune | None = None
    num_runs: int | None = None


def plan_of(flags: SweepFlags) -> Planned:
    """Return the sweep that the flags mean.

    Raises:
        ValueError: If flags contradict each other or a value can't be.
    """
    base = flags.experiment
    if (flags.kind == "grid") != bool(flags.grid):
        msg = (
            "say which sweep: lr, batch, search, or grid with --grid FIELD=VALUE,VALUE,…, such as "
            "--grid optimizer.max_lr=1e-3,3e-3"
            if flags.kind == "grid"
            else f"--grid goes with the sweep `grid`, not with `{flags.kind}`: `sweep.py grid --grid …`"
        )
        raise ValueError(msg)
    if flags.kind == "grid":
        grid = parse_grid(flags.grid, base)
        return Planned(plan=grid_plan(grid), about={"kind": "grid", "grid": grid})
    if flags.space and flags.kind != "search":
        msg = f"--space goes with the sweep `search`, not with `{flags.kind}`: `sweep.py search --space …`"
        raise ValueError(msg)
    if flags.kind == "search":
        return _search(flags)
    if flags.kind == "lr":
        if not flags.rate_step > 1:
            msg = f"--rate-step must be greater than 1, got {flags.rate_step}"
            raise ValueError(msg)
        rates = list(flags.rates) or rates_around(base.optimizer.max_lr, flags.rate_step)
        for rate in rates:
            changed(base, [(MAX_LR, rate)])
        if flags.edge_runs < 0:
            msg = f"--edge-runs must be at least 0, got {flags.edge_runs}"
            raise ValueError(msg)
        about = {"kind": "lr", "rates": rates, "edge_runs": flags.edge_runs}
        return Planned(plan=lr_plan(rates, edge_runs=flags.edge_runs), about=about)
    check_positive("sizes", flags.sizes)
    check_positive("rate-factors", flags.rate_factors)
    sizes, factors = list(flags.sizes), list(flags.rate_factors)
    plan = batch_plan(base, sizes, rate_factors=factors)
    return Planned(plan=plan, about={"kind": "batch", "sizes": sizes, "rate_factors": factors})


def _search(flags: SweepFlags) -> Planned:
    check_optuna()
    base = flags.experiment
    if flags.num_runs < 1:
        msg = f"--num-runs must be at least 1, got {flags.num_runs}"
        raise ValueError(msg)
    rate = base.optimizer.max_lr
    space = parse_space(flags.space or [f"{MAX_LR}={rate / 10:g}:{rate * 10:g}:log"], base)
    plan, prune = search_plan(base, space, num_runs=flags.num_runs, jobs=flags.jobs)
    # Which outcomes a run is chosen from depends on how many run at once. How many there are in all does not.
    about: dict[str, object] = {"kind": "search", "ranges": {k: list(v) for k, v in space.ranges.items()}}
    about |= {"choices": space.choices, "jobs": flags.jobs, "prune": flags.prune}
    return Planned(plan=plan, about=about, prune=prune if flags.prune else None, num_runs=flags.num_runs)
