"""Continue prompts with a model that was trained here; the text appears as it is made.

Examples:
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --prompt "Once upon a time"
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --temperature 0 --max-tokens 100
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --num-samples 3 --seed 7 --checkpoint best
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --num-samples 16 --dry-run   # how long?
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hornbook.trainer import WhichCheckpoint
from recipes.command_line import read_flags
from recipes.machine import likely_device
from recipes.recorded import recorded_shape
from recipes.sampling import TextOptions, describe_samples, say_samples
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to generate."""

    run: Path
    """Directory of a run."""
    checkpoint: WhichCheckpoint = "latest"
    """Which of the run's: latest, best (least validation loss; see --keep-best of training), or a step."""
    prompt: tuple[str, ...] = ("",)
    """Where to go on from, one or several; empty begins a new text."""
    options: Annotated[TextOptions, tyro.conf.arg(name="")]
    device: str | None = None
    """cpu, cuda, mps …; the best there is, if not given."""
    dry_run: bool = False
    """Load the model, print what the texts would cost, and stop."""


def main(flags: Flags) -> int:
    """Print the samples piece by piece."""
    likely_device(flags.device)
    recorded_shape(flags.run)
    from recipes.device import choose_device  # here: torch takes seconds, and wrong words should not
    from recipes.trained import load_run

    trained = load_run(flags.run, choose_device(flags.device), flags.checkpoint)
    prompts = [prompt for prompt in flags.prompt for _ in range(flags.options.num_samples)]
    (describe_samples if flags.dry_run else say_samples)(trained, prompts, flags.options)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
