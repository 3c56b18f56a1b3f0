"""The lowest loss on OpenWebText in a given time, with every trick that helps; each is a switch.

Muon for the hidden matrices and AdamW for the rest, a shorter memory of both, QK-norm, ReLU squared,
zero-initialised outputs, value residual, embedding shortcut, logit softcap, and a trapezoid by the clock. The
budget is --max-seconds; the schedule ends with it however fast the machine is. --measure runs the AdamW
baseline and each trick alone, then all together on half the tokens, and tells what each needs to the
baseline's loss in tokens and seconds.

Examples:
    uv run apps/leaderboard.py                                  # two minutes, on what every machine has
    uv run apps/leaderboard.py --data openwebtext --preset gpu  # an hour and a half on an H100
    uv run apps/leaderboard.py --optimizer adamw --no-qk-norm   # two tricks off
    uv run apps/leaderboard.py --measure --num-steps 500
    uv run apps/leaderboard.py --preset gpu --dry-run
"""

import sys
from dataclasses import fields, replace

from recipes.flags import TrainFlags, parse_flags
from recipes.leaderboard import LEADERBOARD_PRESETS, LeaderboardFlags, measure_plan, measure_summary
from recipes.texts import settled
from recipes.wrong_input import exit_code_of


def main(arguments: list[str]) -> int:
    """Run once, or measure."""
    flags = parse_flags(LeaderboardFlags, __doc__ or "", arguments, LEADERBOARD_PRESETS)
    flags = replace(flags, texts=settled(flags.texts, "openwebtext"))
    if not flags.measure:
        from recipes.run import run  # here: torch takes seconds, and wrong words should not

        return run(TrainFlags(**{field.name: getattr(flags, field.name) for field in fields(TrainFlags)}))
    factors = list(dict.fromkeys(flags.rate_factors))
    plan = measure_plan(flags.experiment, factors, flags.token_share)
    about = {"kind": "tricks", "rate_factors": factors, "token_share": flags.token_share}
    from recipes.sweep.sweep import sweep

    summary = measure_summary(flags.experiment)
    return sweep(flags, plan, about, summary, title="Leaderboard: the tricks", name="tricks")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
