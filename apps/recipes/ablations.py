"""The assignment's ablations: each variant at a rate of its own, with seeds to tell noise from effect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.accounting import num_parameters

from .experiment import Experiment
from .markdown import table
from .sweep.flags import JobFlags, check_positive
from .sweep.outcome import Outcome
from .sweep.plans import Plan
from .sweep.point import MAX_LR, Point, changed, point

BASELINE = "baseline"
_MAX_EXTENSIONS = 3  # of a ladder of rates, while its best is at its end


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationFlags(JobFlags):
    """Which variants, rates and seeds."""

    variants: tuple[str, ...] = ()
    """Some of no-norm, post-norm, nope, silu, qk-norm, tied; all, if none is given."""
    rate_factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Rates tried for each variant, as multiples of --max-lr; more are added while the best is at an end."""
    num_seeds: int = 2
    """Runs of each variant at its best rate."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        JobFlags.__post_init__(self)
        check_positive("rate-factors", self.rate_factors)
        if self.num_seeds < 1:
            msg = f"--num-seeds must be at least 1, got {self.num_seeds}"
            raise ValueError(msg)


def variants(base: Experiment) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what each variant is called in the table, and what it changes."""
    return {
        BASELINE: ("pre-norm, RoPE, SwiGLU", {}),
        "no-norm": ("no RMSNorm at all", {"model.norm": "none"}),
        "post-norm": ("post-norm", {"model.norm": "post"}),
        "nope": ("no positions (NoPE)", {"model.position": "none"}),
        # Two matrices of 4 d instead of three of 8/3 d: as many parameters.
        "silu": ("SiLU, d_ff = 4 d_model", {"model.ffn": "silu", "model.d_ff": 4 * base.model.d_model}),
        "qk-norm": ("RMSNorm on queries and keys", {"model.qk_norm": True}),
        "tied": ("embedding and head tied", {"model.tied_embeddings": True}),
    }


def ablation_plan(base: Experiment, names: Sequence[str], factors: Sequence[float], num_seeds: int) -> Plan:
    """For each variant: a ladder of rates with one seed, then the other seeds at the best rate.

    The baseline comes first, and every variant is run at the baseline's best rate as well.

    Args:
        base: The baseline.
        names: Of variants, the baseline first.
        factors: The ladder, as multiples of the baseline's rate.
        num_seeds: From the base's seed upwards.
    """
    table_of = variants(base)

    def plan(outcomes: Mapping[str, Outcome]) -> list[Point]:
        points: list[Point] = []
        tuned: float | None = None
        for name in names:
            ones = _of_variant(name, table_of[name][1], outcomes, tuned)
            if name == BASELINE and (best := best_point(ones, outcomes)) is not None:
                tuned = best.value(MAX_LR)
            points += ones
        return points

    def _of_variant(
        name: str, changes: dict[str, Any], outcomes: Mapping[str, Outcome], tuned: float | None
    ) -> list[Point]:
        def at(rate: float, seed: int) -> Point:
            settings = changes | {MAX_LR: float(f"{rate:.3g}"), "seed": seed}
            return point(settings, shown=(MAX_LR, "seed"), prefix=name)

        rates = [base.optimizer.max_lr * factor for factor in factors]
        ladder = tuning_ladder(rates, lambda rate: at(rate, base.seed), outcomes)
        if tuned is not None and (same := at(tuned, base.seed)) not in ladder:
            ladder.append(same)
        best = best_point(ladder, outcomes)
        if best is None:
            return ladder
        return ladder + [at(best.value(MAX_LR), base.seed + more) for more in range(1, num_seeds)]

    return plan


def tuning_ladder(
    rates: Sequence[float], at: Callable[[float], Point], outcomes: Mapping[str, Outcome]
) -> list[Point]:
    """Return the points of some rates, and of more while the best of them is at an end.

    Args:
        rates: On a log grid.
        at: The point of a rate.
        outcomes: So far, by name.
    """
    rates = sorted(rates)
    for _ in range(_MAX_EXTENSIONS):
        best = best_point([at(rate) for rate in rates], outcomes)
        if best is None or len(rates) < 2:
            break
        if best == at(rates[0]):
            rates.insert(0, rates[0] ** 2 / rates[1])
        elif best == at(rates[-1]):
            rates.append(rates[-1] ** 2 / rates[-2])
        else:
            break
    return [at(rate) for rate in rates]


def best_point(points: Sequence[Point], outcomes: Mapping[str, Outcome]) -> Point | None:
    """Return the point of the lowest loss; None while not all have ended, or if none learned anything."""
    if any(one.name not in outcomes for one in points):
        return None
    good = [one for one in points if outcomes[one.name].stable]
    return min(good, key=lambda one: outcomes[one.name].val_loss or 0.0, default=None)


def ablation_summary(
    base: Experiment, names: Sequence[str]
) -> Callable[[Sequence[Point], Mapping[str, Outcome], Path], str]:
    """Return what turns outcomes into a table with means, spreads and verdicts."""

    def summary(points: Sequence[Point], outcomes: Mapping[str, Outcome], _directory: Path) -> str:
        found = {}
        for name in names:
            ones = [one for one in points if one.name.startswith(f"{name}_{MAX_LR.rsplit('.')[-1]}")]
            best = best_point([one for one in ones if one.value("seed") == base.seed], outcomes)
            found[name] = (ones, best, _losses(ones, best, outcomes))
        _, baseline, plain = found[BASELINE]
        noise = max((max(losses) - min(losses) for *_, losses in found.values() if losses), default=0.0)
        rows = []
        for name, (ones, best, losses) in found.items():
            title, changes = variants(base)[name]
            size = f"{num_parameters(changed(base, list(changes.items())).model):,}"
            tuned = baseline.value(MAX_LR) if baseline else None
            there = [outcomes[one.name] for one in ones if one.value(MAX_LR) == tuned]
            at_tuned = next((_told(outcome) for outcome in there), "-")
            if best is None or not losses:
                rows.append([title, size, "-", "no rate was stable", "-", at_tuned, "-"])
                continue
            mean = sum(losses) / len(losses)
            difference = mean - sum(plain) / len(plain) if plain else 0.0
            verdict = "-" if name == BASELINE else _verdict(difference, noise, len(losses))
            spread = f"{max(losses) - min(losses):.4f}" if len(losses) > 1 else "one seed"
            rows.append([title, size, f"{best.value(MAX_LR):g}", f"{mean:.4f}", spread, at_tuned, verdict])
        head = ["variant", "parameters", "best rate", "validation loss", "spread", "at the baseline's rate"]
        rate = f" ({baseline.value(MAX_LR):g})" if baseline else ""
        return (
            f"{table([*head[:-1], head[-1] + rate, 'against the baseline'], rows)}\n\n"
            "Validation loss: the mean over seeds, each variant at its own best rate. The greatest spread "
            f"between seeds of one variant is {noise:.4f}; a difference no greater is called noise.\n"
        )

    return summary


def _losses(ones: Sequence[Point], best: Point | None, outcomes: Mapping[str, Outcome]) -> list[float]:
    if best is None:
        return []
    same = [outcomes[one.name].val_loss for one in ones if one.value(MAX_LR) == best.value(MAX_LR)]
    return [loss for loss in same if loss is not None]


def _verdict(difference: float, noise: float, num_seeds: int) -> str:
    sign = f"{difference:+.4f}"
    if num_seeds < 2:
        return f"{sign}, of one seed"
    return f"{sign}, within the noise" if abs(difference) <= noise else sign


def _told(outcome: Outcome) -> str:
    return f"{outcome.val_loss:.4f}" if outcome.stable and outcome.val_loss is not None else outcome.status
