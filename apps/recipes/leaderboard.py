"""The lowest loss on OpenWebText in a given time: every trick a switch, and its effect measured."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hornbook.nn import TransformerConfig
from hornbook.trainer import LoopConfig

from .ablations import best_point, tuning_ladder
from .experiment import Experiment, demo
from .markdown import table
from .optimizer import OptimizerConfig, ScheduleConfig
from .sweep.flags import JobFlags, check_positive
from .sweep.outcome import Outcome
from .sweep.plans import Plan
from .sweep.point import MAX_LR, Point, changed, point

_BASELINE, _ALL = "adamw", "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaderboardFlags(JobFlags):
    """A training app's flags, and whether the tricks are measured."""

    measure: bool = False
    """Instead of one run: the AdamW baseline without any trick, each trick alone, and all together."""
    rate_factors: tuple[float, ...] = (0.5, 1.0)
    """With --measure: rates of the baseline and of all together, as multiples of --max-lr; more are added
    while the best is at an end."""
    token_share: float = 0.5
    """With --measure: how long all together train, as a share of the baseline's tokens."""

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        JobFlags.__post_init__(self)
        check_positive("rate-factors", self.rate_factors)
        if not 0 < self.token_share <= 1:
            msg = f"--token-share must be greater than 0 and at most 1, got {self.token_share}"
            raise ValueError(msg)


def tricks(model: TransformerConfig) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the tricks by name: what switches each on, and off."""
    swiglu_d_ff = max(64, round(8 / 3 * model.d_model / 64) * 64)
    return {
        "muon": (
            # What is left to AdamW, the embedding and the head, learns faster at a greater rate.
            {"optimizer.kind": "muon", "optimizer.adamw_lr_scale": 3.0},
            {"optimizer.kind": "adamw", "optimizer.adamw_lr_scale": 1.0},
        ),
        "short-memory": (
            # Means over fewer steps: a short run has few.
            {"optimizer.betas": (0.8, 0.95), "optimizer.momentum": 0.9},
            {"optimizer.betas": (0.9, 0.95), "optimizer.momentum": 0.95},
        ),
        "qk-norm": ({"model.qk_norm": True}, {"model.qk_norm": False}),
        "relu2": (
            {"model.ffn": "relu2", "model.d_ff": 4 * model.d_model},
            {"model.ffn": "swiglu", "model.d_ff": swiglu_d_ff},
        ),
        "zero-init": ({"model.zero_init_outputs": True}, {"model.zero_init_outputs": False}),
        "value-residual": ({"model.value_residual": True}, {"model.value_residual": False}),
        "embedding-shortcut": ({"model.embedding_shortcut": True}, {"model.embedding_shortcut": False}),
        "softcap": ({"model.logit_softcap": 15.0}, {"model.logit_softcap": None}),
        "trapezoid": (
            {"schedule.kind": "trapezoid", "schedule.decay_fraction": 0.6, "schedule.min_lr": 0.0},
            {"schedule.kind": "cosine"},
        ),
    }


def with_tricks(base: Experiment, names: Sequence[str]) -> Experiment:
    """Return the experiment with these tricks on and all others off."""
    return changed(base, list(_changes(base, names).items()))


def _changes(base: Experiment, names: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, (on, off) in tricks(base.model).items():
        changes |= on if name in names else off
    changes.setdefault("schedule.min_lr", base.optimizer.max_lr / 100)
    return changes


def _recipe(base: Experiment) -> Experiment:
    return with_tricks(base, list(tricks(base.model)))


def leaderboard_demo() -> Experiment:
    """Two minutes on a CPU."""
    base = demo()
    return _recipe(
        replace(
            base,
            optimizer=replace(base.optimizer, max_lr=1.2e-2),
            loop=LoopConfig(max_seconds=120.0, eval_interval_steps=50, checkpoint_interval_steps=200),
            schedule=replace(base.schedule, warmup_fraction=0.02),
        )
    )


def leaderboard_cpu() -> Experiment:
    """Two hours on a CPU."""
    base = leaderboard_demo()
    return _recipe(
        replace(
            base,
            model=replace(base.model, vocab_size=8192, d_model=256, num_heads=4, num_layers=6),
            loop=replace(base.loop, max_seconds=7200.0, eval_interval_steps=250),
            batch_size=8,
            compile=True,
        )
    )


def leaderboard_gpu() -> Experiment:
    """An hour and a half on one H100: the class leaderboard's budget. Not run yet."""
    return _recipe(
        Experiment(
            model=TransformerConfig(
                vocab_size=32_000, context_length=512, num_layers=13, d_model=1024, num_heads=8, d_ff=4096
            ),
            optimizer=OptimizerConfig(max_lr=2e-3, weight_decay=0.01),
            schedule=ScheduleConfig(min_lr=0.0, warmup_steps=0, warmup_fraction=0.01),
            loop=LoopConfig(
                max_seconds=5400.0,
                micro_batch_size=128,
                eval_interval_steps=250,
                checkpoint_interval_steps=1000,
                log_interval_steps=10,
            ),
            batch_size=512,
            eval_windows=512,
            final_eval_windows=1_000_000,
            compile=True,
        )
    )


LEADERBOARD_PRESETS = {"demo": leaderboard_demo, "cpu": leaderboard_cpu, "gpu": leaderboard_gpu}


def measure_plan(base: Experiment, factors: Sequence[float], token_share: float) -> Plan:
    """The tuned baseline; each trick alone at the baseline's best rate; all together, shorter, tuned as well.

    All runs begin with the same batches: those of a shorter run are the first of the longer ones'.

    Args:
        base: The experiment whose tokens the baseline sees.
        factors: Rates of the baseline and of all together, as multiples of the base's; more are added while
            the best is at an end.
        token_share: How long all together train, as a share of the baseline's tokens.

    Raises:
        ValueError: If the run is limited by the clock alone.
    """
    names = list(tricks(base.model))
    if (num_steps := base.planned_steps) is None:
        msg = "--measure compares numbers of tokens, not seconds: give --num-steps or --max-tokens"
        raise ValueError(msg)

    def at(name: str, on: Sequence[str], rate: float, steps: int) -> Point:
        changes = _changes(base, on)
        changes["schedule.min_lr"] = 0.0 if "trapezoid" in on else rate / 100
        changes |= {"loop.num_steps": steps, "loop.max_tokens": None, "loop.max_seconds": None}
        return point(changes | {MAX_LR: float(f"{rate:.3g}")}, shown=(MAX_LR,), prefix=name)

    def plan(outcomes: Mapping[str, Outcome]) -> list[Point]:
        rates = [base.optimizer.max_lr * factor for factor in factors]
        points = tuning_ladder(rates, lambda rate: at(_BASELINE, [], rate, num_steps), outcomes)
        best = best_point(points, outcomes)
        if best is not None:
            points += [at(name, [name], best.value(MAX_LR), num_steps) for name in names]
        fewer = max(1, round(num_steps * token_share))
        return points + tuning_ladder(rates, lambda rate: at(_ALL, names, rate, fewer), outcomes)

    return plan


def measure_summary(
    base: Experiment,
) -> Callable[[Sequence[Point], Mapping[str, Outcome], Path], str]:
    """Return what turns outcomes into tokens and seconds that each needs to the baseline's final loss."""

    def summary(points: Sequence[Point], outcomes: Mapping[str, Outcome], directory: Path) -> str:
        best = best_point([one for one in points if _kind(one) == _BASELINE], outcomes)
        if best is None:
            return "No rate of the baseline was stable: give a lower --max-lr.\n"
        target = outcomes[best.name].val_loss or math.inf
        whole = reached(directory / best.name / "metrics.csv", target)
        rows = []
        for name in (_BASELINE, *tricks(base.model), _ALL):
            one = best_point([one for one in points if _kind(one) == name], outcomes)
            if one is None:
                rows.append([name, "-", "-", "no rate was stable", "-", "-", "-"])
                continue
            there = reached(directory / one.name / "metrics.csv", target)
            outcome = outcomes[one.name]
            tokens = f"{outcome.steps * base.tokens_per_step:,}"
            losses = [f"{outcome.val_loss:.4f}", *_shares(there, whole)]
            rows.append([name, f"{one.value(MAX_LR):g}", tokens, *losses])
        head = ["run", "rate", "tokens", "validation loss", "tokens to its loss", "share", "seconds"]
        return (
            f"{table(head, rows)}\n\n"
            "The baseline is AdamW with SwiGLU and a cosine, at the best of its rates; its loss at the end "
            f"is {target:.4f}. Each trick alone has the baseline's rate and tokens; all together have the "
            "best of their own rates, and a schedule that ends with their tokens. Tokens and seconds to the "
            "baseline's loss are read off each run's evaluations, on a straight line between two of them. "
            "The same batches in the same order, one seed each.\n"
        )

    return summary


def reached(metrics: Path, target: float) -> tuple[float, float] | None:
    """Return tokens and seconds at which the validation loss first is no greater than a target.

    Args:
        metrics: The CSV file of a run.
        target: Nats per token.

    Returns:
        Between two evaluations, the place on the straight line; None if it is never reached.
    """
    before: tuple[float, float, float] | None = None
    with metrics.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["val_loss"]:
                continue
            loss, tokens, seconds = (
                float(row[name]) for name in ("val_loss", "tokens_processed", "wallclock_time")
            )
            if loss <= target:
                if before is None or before[0] == loss:
                    return tokens, seconds
                share = (before[0] - target) / (before[0] - loss)
                return before[1] + share * (tokens - before[1]), before[2] + share * (seconds - before[2])
            before = loss, tokens, seconds
    return None


def _kind(one: Point) -> str:
    return one.name.split("_", 1)[0]


def _shares(there: tuple[float, float] | None, whole: tuple[float, float] | None) -> list[str]:
    if there is None or whole is None:
        return ["not reached", "-", "-"]
    return [f"{there[0]:,.0f}", f"{there[0] / whole[0]:.2f}", f"{there[1]:,.1f}"]
