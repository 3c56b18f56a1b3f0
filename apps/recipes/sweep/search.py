"""Search: each run is chosen from those before it, and ended early if it lags behind them."""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..experiment import Experiment
from .outcome import Outcome
from .plans import Plan, Prune
from .point import Point, parse_grid, point

if TYPE_CHECKING:
    import optuna

_FEWEST_BEFORE_PRUNING = 5  # runs, of which the median says something


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What a search may choose from."""

    ranges: dict[str, tuple[float, float, bool]]  # field: lowest, highest, on a log scale
    choices: dict[str, list[Any]]

    def distributions(self) -> dict[str, "optuna.distributions.BaseDistribution"]:
        """Return it as optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, optuna.distributions.BaseDistribution] = {}
        for name, (low, high, log) in self.ranges.items():
            if isinstance(low, int) and isinstance(high, int):
                found[name] = IntDistribution(low, high, log=log)
            else:
                found[name] = FloatDistribution(low, high, log=log)
        return found | {name: CategoricalDistribution(values) for name, values in self.choices.items()}


def parse_space(words: Sequence[str], base: Experiment) -> Space:
    """Read `field=low:high`, `field=low:high:log` and `field=value,value,…`.

    Args:
        words: As they were given; fields as in `parse_grid`.
        base: Whose fields they are.

    Raises:
        ValueError: If a field is unknown or given twice, or can't have such values.
    """
    ranges: dict[str, tuple[float, float, bool]] = {}
    choices: dict[str, list[Any]] = {}
    for word in words:
        field, _, values = word.partition("=")
        ends = values.split(":")
        is_range = len(ends) > 1
        ((name, found),) = parse_grid(
            [f"{field}={','.join(ends[:2])}" if is_range else word], base, flag="--space"
        ).items()
        if name in ranges or name in choices:
            msg = f"--space {name} is given twice: give all its values at once"
            raise ValueError(msg)
        if not is_range:
            choices[name] = found
            continue
        log = ends[2:] == ["log"]
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in found)
        if ends[2:] not in ([], ["log"]) or not numbers or not found[0] < found[1] or (log and found[0] <= 0):
            msg = (
                f"--space {word}: expected {name}=LOW:HIGH or {name}=LOW:HIGH:log with numbers LOW < HIGH, "
                "greater than 0 for log"
            )
            raise ValueError(msg)
        ranges[name] = (found[0], found[1], log)
    return Space(ranges=ranges, choices=choices)


def check_optuna() -> None:
    """Refuse a search where optuna is not installed.

    Raises:
        ValueError: Saying how to install it.
    """
    if importlib.util.find_spec("optuna") is None:
        msg = "`sweep.py search` needs optuna, which is not installed: uv sync --extra optuna"
        raise ValueError(msg)


def search_plan(base: Experiment, space: Space, *, num_runs: int, jobs: int = 1) -> tuple[Plan, Prune]:
    """So many runs, each chosen by optuna's TPE from how those before it did, and when to end one early.

    There is no storage beside the outcomes. Run k is chosen with a seed of its own from the outcomes of
    runs 0 to k - jobs, and from no others, even if more have ended: so the same outcomes give the same runs,
    also after a kill.

    Args:
        base: Whose seed is the search's.
        space: What may be chosen.
        num_runs: Runs in all; more of them later continue the same search.
        jobs: Runs at once.
    """
    chosen: list[Point] = []

    def plan(outcomes: Mapping[str, Outcome]) -> list[Point]:
        while len(chosen) < num_runs:
            before = _known(len(chosen))
            if any(one.name not in outcomes for one in before):
                break
            study, distributions = _study(before, outcomes, len(chosen))
            trial = study.ask(distributions)
            chosen.append(_point(len(chosen), trial.params, space))
        return list(chosen)

    def prune(name: str, evaluations: Sequence[tuple[int, float]], outcomes: Mapping[str, Outcome]) -> bool:
        (number,) = (index for index, one in enumerate(chosen) if one.name == name)
        study, distributions = _study(_known(number), outcomes, number)
        trial = study.ask(distributions)
        for step, loss in evaluations:
            trial.report(loss, step)
            if trial.should_prune():
                return True
        return False

    def _known(number: int) -> list[Point]:
        return chosen[: max(0, number - jobs + 1)]

    def _study(
        points: Sequence[Point], outcomes: Mapping[str, Outcome], number: int
    ) -> tuple["optuna.Study", dict[str, "optuna.distributions.BaseDistribution"]]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions = space.distributions()
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=(base.seed * 1_000_003 + number) % 2**32),
            # In the warmup a low rate lags behind a high one, and the other way round after it.
            pruner=optuna.pruners.MedianPruner(_FEWEST_BEFORE_PRUNING, base.schedule.warmup_steps),
        )
        for one in points:
            outcome = outcomes[one.name]
            pruned = outcome.status == "pruned"
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE,
                    params={name: one.value(name) for name in distributions},
                    distributions=distributions,
                    # What diverged, or had no room, is worse than all that came to its end.
                    value=None if pruned else (outcome.val_loss if outcome.stable else math.inf),
                    intermediate_values=dict(outcome.evaluations),
                )
            )
        return study, distributions

    return plan, prune


def _point(number: int, params: Mapping[str, Any], space: Space) -> Point:
    """Name a run by its number and what was chosen, in three digits: a search can tell no more."""
    changes = {}
    for name, value in params.items():
        if isinstance(value, float) and name in space.ranges:
            low, high, _ = space.ranges[name]
            value = min(max(float(f"{value:.3g}"), low), high)
        changes[name] = value
    return point(changes, prefix=f"{number:03d}")
