"""Write a model that was trained here in a form that other programs read, with its tokenizer.

Forms:
    huggingface  a directory for transformers: AutoModelForCausalLM and AutoTokenizer, from_pretrained(OUT)
    gguf         one file for llama.cpp and what is built on it: llama-cli -m OUT
    safetensors  a directory for hornbook: load_model(OUT) and Tokenizer.load(OUT/tokenizer)

The first two hold a Llama, or a Qwen3 if the model has qk_norm, and refuse another variant by its field; the
third holds every variant.

Examples:
    uv run apps/export.py runs/tinystories-demo-1a2b3c4d --to huggingface exported/tinystories
    uv run --extra gguf apps/export.py runs/tinystories-demo-1a2b3c4d --to gguf tinystories.gguf
    uv run apps/export.py runs/tinystories-demo-1a2b3c4d --to safetensors model --dtype bfloat16
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from hornbook.trainer import WhichCheckpoint
from recipes.console import say
from recipes.export import Dtype, Form, check_out, export
from recipes.trained import load_run
from recipes.wrong_input import exit_code_of


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to write, and where."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Directory of a run."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """What to write: a new or empty directory, or for gguf a new file."""
    to: Form
    """The form."""
    checkpoint: WhichCheckpoint = "latest"
    """Which of the run's: latest, best (least validation loss; see --keep-best of training), or a step."""
    dtype: Dtype = "float32"
    """Of the weights; half precision takes half the room, and gguf has no bfloat16 here."""


def main(flags: Flags) -> int:
    """Export, and say what was written."""
    check_out(flags.to, flags.out)
    trained = load_run(flags.run, torch.device("cpu"), flags.checkpoint)
    for path in export(trained, flags.to, flags.out, flags.dtype):
        say(f"{path}  {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Flags, description=__doc__))))
