"""The ablations: what RMSNorm, its place, RoPE, SwiGLU, QK-norm and tied embeddings are each worth.

Every variant is tuned by itself: a ladder of learning rates around --max-lr, extended while its best is at an
end, then more seeds at the best rate. The table states the mean, the spread between seeds, the difference to
the baseline, and each variant's loss at the baseline's rate too. Same directory, same command: it goes on
where it was. All flags of train_ts.py say what the runs share.

Examples:
    uv run apps/ablate.py --num-steps 500                     # all variants; hours on two CPU cores
    uv run apps/ablate.py --variants no-norm nope --num-steps 300 --num-seeds 3
    uv run apps/ablate.py --rate-factors 0.25 0.5 1 2 --jobs 2
    uv run apps/ablate.py --dry-run
"""

import sys

from recipes.ablations import BASELINE, AblationFlags, ablation_plan, ablation_summary, variants
from recipes.flags import parse_flags
from recipes.nearest import nearest
from recipes.wrong_input import exit_code_of


def main(arguments: list[str]) -> int:
    """Plan, run, sum up."""
    flags = parse_flags(AblationFlags, __doc__ or "", arguments)
    known = list(variants(flags.experiment))
    for name in flags.variants:
        if name not in known:
            msg = f"--variants {name}: there is no such variant; the nearest is {nearest(name, known)}"
            raise ValueError(msg)
    names = [BASELINE, *(name for name in flags.variants or known if name != BASELINE)]
    factors = list(dict.fromkeys(flags.rate_factors))
    plan = ablation_plan(flags.experiment, names, factors, flags.num_seeds)
    about = {"kind": "ablations", "variants": names, "rate_factors": factors, "seeds": flags.num_seeds}
    from recipes.sweep.sweep import sweep  # here: torch takes seconds, and wrong words should not

    summary = ablation_summary(flags.experiment, names)
    return sweep(flags, plan, about, summary, title="Ablations", name="ablations")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
