"""Continue a prompt with a model that was trained here; the text appears as it is made.

Examples:
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --prompt "Once upon a time"
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --temperature 0 --max-tokens 100
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --num-samples 3 --seed 7
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from recipes.console import printable, say
from recipes.device import choose_device
from recipes.sampling import Sampling, stream_text
from recipes.trained import load_run
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags(Sampling):
    """What to generate."""

    run: Path
    """Directory of a run."""
    prompt: str = ""
    """Where to go on from; empty begins a new text."""
    num_samples: int = 1
    """How many texts, each with the next seed."""
    device: str | None = None
    """cpu, cuda, mps …; the best there is, if not given."""


def main(flags: Flags) -> int:
    """Print the samples piece by piece."""
    if flags.num_samples < 1:
        msg = f"--num-samples must be at least 1, got {flags.num_samples}"
        raise ValueError(msg)
    trained = load_run(flags.run, choose_device(flags.device))
    for number in range(flags.num_samples):
        say(flags.prompt, end="")
        for piece in stream_text(trained, flags.prompt, flags, seed=flags.seed + number):
            say(printable(piece), end="")
        say("\n---" if number + 1 < flags.num_samples else "")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Flags, description=__doc__))))
