"""What the learning rate does, on the smallest problem there is: 100 weights that should become 0.

Ten steps of SGD on the mean of the squared weights, at rates 1, 10, 100 and 1000, each falling with
1 / sqrt(t + 1): the toy problem of Stanford CS336, assignment 1 (2025). Below the table: what each did.

Examples:
    uv run apps/sgd_toy.py
    uv run apps/sgd_toy.py --rates 40 50 60 --num-steps 5
"""

import math
import sys
from dataclasses import dataclass

from recipes.command_line import read_flags
from recipes.console import say
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
    for name, value in (("num-steps", flags.num_steps), ("rates", len(flags.rates))):
        if value < 1:
            msg = f"--{name}: at least 1 is needed, got {value}"
            raise ValueError(msg)
    if wrong := [rate for rate in flags.rates if not 0 <= rate < math.inf]:
        msg = f"--rates: a rate must be at least 0 and finite, got {wrong[0]}"
        raise ValueError(msg)
    if flags.dry_run:
        say(f"{len(flags.rates)} rates, {flags.num_steps} steps of 100 weights each: a moment")
        return 0
    from recipes.toy import toy_losses, toy_verdict  # here: torch takes seconds, and wrong words should not

    columns = [toy_losses(lr, num_steps=flags.num_steps, seed=flags.seed) for lr in flags.rates]
    say("step" + "".join(f"{f'lr {lr:g}':>14}" for lr in flags.rates))
    for step, row in enumerate(zip(*columns, strict=True)):
        say(f"{step:4}" + "".join(f"{loss:14.4g}" for loss in row))
    say()
    for lr, losses in zip(flags.rates, columns, strict=True):
        first, last = (1 - lr / (50 * math.sqrt(step)) for step in (1, flags.num_steps))
        say(f"lr {lr:g}: {toy_verdict(losses)} (a step multiplies the weights by {first:.3g} … {last:.3g})")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
