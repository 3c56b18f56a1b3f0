"""Write a model that was trained here in a form that other programs read, with its tokenizer.

Forms:
    huggingface  a directory for transformers: AutoModelForCausalLM and AutoTokenizer, from_pretrained(OUT)
    gguf         one file for llama.cpp and what is built on it: llama-cli -m OUT
    safetensors  a directory for hornbook: load_model(OUT) and Tokenizer.load(OUT/tokenizer)

Examples:
    uv run apps/export.py runs/tinystories-demo-1a2b3c4d --to huggingface exported/tinystories
    uv run --extra gguf apps/export.py runs/tinystories-demo-1a2b3c4d --to gguf tinystories.gguf
    uv run apps/export.py runs/tinystories-demo-1a2b3c4d --to safetensors model --dtype bfloat16 --dry-run
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hornbook.trainer import WhichCheckpoint
from recipes.command_line import read_flags
from recipes.console import say
from recipes.export import Dtype, Form, check_export, described, exported
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to write, and where."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of a run."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """What to write: a new or empty directory, or for gguf a new file."""
    to: Form
    """The form: the first two hold a Llama, or a Qwen3 if the model has qk_norm; the third every variant."""
    checkpoint: WhichCheckpoint = "latest"
    """Which of the run's: latest, best (least validation loss; see --keep-best of training), or a step."""
    dtype: Dtype = "float32"
    """Of the weights; half precision takes half the room, and gguf has no bfloat16 here."""
    dry_run: bool = False
    """Load the model, print what would be written, and stop."""


def main(flags: Flags) -> int:
    """Export, and say what was written."""
    check_export(flags.run, flags.to, flags.out, flags.dtype)
    from recipes.trained import load_run  # here: torch takes seconds, and wrong words should not

    trained = load_run(flags.run, "cpu", flags.checkpoint)
    for line in (described if flags.dry_run else exported)(trained, flags.to, flags.out, flags.dtype):
        say(line)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(read_flags(Flags, __doc__, sys.argv[1:]))))
