"""Continue prompts with a model that was trained here; the text appears as it is made.

Examples:
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --prompt "Once upon a time"
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --temperature 0 --max-tokens 100
    uv run apps/generate.py --run runs/tinystories-demo-1a2b3c4d --num-samples 3 --seed 7 --checkpoint best
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hornbook.trainer import WhichCheckpoint
from recipes.console import printable, say
from recipes.device import choose_device
from recipes.sampling import TextOptions, stream_samples
from recipes.trained import load_run
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
    num_samples: int = 1
    """How many texts of each prompt."""
    options: Annotated[TextOptions, tyro.conf.arg(name="")]
    device: str | None = None
    """cpu, cuda, mps …; the best there is, if not given."""


def main(flags: Flags) -> int:
    """Print the samples piece by piece."""
    if flags.num_samples < 1:
        msg = f"--num-samples must be at least 1, got {flags.num_samples}"
        raise ValueError(msg)
    trained = load_run(flags.run, choose_device(flags.device), flags.checkpoint)
    prompts = [prompt for prompt in flags.prompt for _ in range(flags.num_samples)]
    shown = -1
    for number, piece in stream_samples(trained, prompts, flags.options):
        while shown < number:
            shown += 1
            say(("\n---\n" if shown else "") + prompts[shown], end="")
        say(printable(piece), end="")
    say()
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Flags, description=__doc__))))
