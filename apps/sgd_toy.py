"""What the learning rate does, on the smallest problem there is: 100 weights that should become 0.

Ten steps of SGD on the mean of the squared weights, at rates 1, 10, 100 and 1000, each falling with
1 / sqrt(t + 1): the toy problem of Stanford CS336, assignment 1 (2025). Below the table: what each did.

Examples:
    uv run apps/sgd_toy.py
    uv run apps/sgd_toy.py --rates 40 50 60 --num-steps 5
"""

import sys
from dataclasses import dataclass

from recipes.command_line import read_flags
from recipes.console import say
from recipes.toy import check_toy, toy_table
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Rates to try."""

    rates: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)
    """Learning rates of step 0."""
    num_steps: int = 10
    """Steps of each."""
    seed: int = 0
    """Of the weights at the start, 5 times standard normal."""
    dry_run: bool = False
    """Say what would be done, and stop."""


def main(flags: Flags) -> int:
    """Print the losses side by side, then a verdict for each rate."""
    check_toy(flags.rates, flags.num_steps, flags.seed)
    if flags.dry_run:
        say(f"{len(flags.rates)} rates, {flags.num_steps} steps of 100 weights each: a moment")
    else:
        say(toy_table(flags.rates, num_steps=flags.num_steps, seed=flags.seed))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
