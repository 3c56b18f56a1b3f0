r"""Many runs that differ in one thing: learning rates up to divergence, batch sizes, or any other fields.

Each run has a directory of its own in the sweep's; one that diverges is a result, not a failure. Ctrl-C, or a
kill at any moment, loses nothing that was saved: the same command goes on, and a finished sweep does nothing.
At the end stand a table (summary.md), figures, and a report to look into (report.html). All flags of
train_ts.py say what the runs share.

Examples:
    uv run apps/sweep.py lr --num-steps 300                 # on a log grid, up to the first that diverges
    uv run apps/sweep.py lr --rates 1e-3 3e-3 1e-2 --jobs 2
    uv run apps/sweep.py batch --num-steps 500              # same tokens, the rate tuned again at each size
    uv run apps/sweep.py grid --grid seed=0,1,2 --grid model.norm=pre,post
    uv run --extra optuna apps/sweep.py search --num-runs 30 \
        --space max_lr=1e-4:1e-1:log --space model.norm=pre,post   # and ends early what lags behind
    uv run apps/sweep.py lr --dry-run                       # which runs, and how long one takes
"""

import sys

from recipes.flags import parse_flags
from recipes.sweep.flags import SweepFlags, plan_of
from recipes.wrong_input import exit_code_of


def main(arguments: list[str]) -> int:
    """Plan, run, sum up."""
    flags = parse_flags(SweepFlags, __doc__ or "", arguments)
    planned = plan_of(flags)
    from recipes.sweep.summary import sweep_summary  # here: torch takes seconds, and wrong words should not
    from recipes.sweep.sweep import sweep

    names = {"lr": "Learning rates", "batch": "Batch sizes", "grid": "Grid", "search": "Search"}
    return sweep(
        flags,
        planned.plan,
        planned.about,
        sweep_summary,
        title=names[flags.kind],
        name=f"sweep-{flags.kind}",
        prune=planned.prune,
        num_runs=planned.num_runs,
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
