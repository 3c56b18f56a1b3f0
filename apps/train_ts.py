"""Train a tokenizer and a Transformer language model on TinyStories, from scratch, and print a story.

With no argument it trains on TinyStories if it is in the data directory, else on stories generated here, with
the preset that suits the device. The same command goes on with a run that was stopped (Ctrl-C saves).

Examples:
    uv run apps/train_ts.py                        # two or three minutes on two CPU cores
    uv run apps/train_ts.py --data tinystories     # downloads TinyStories (2.2 GB) first
    uv run apps/train_ts.py --preset cpu           # the low-resource run: 40.96 M tokens, hours on a CPU
    uv run apps/train_ts.py --preset gpu           # the full run: 327.68 M tokens
    uv run apps/train_ts.py --train-text a.txt --valid-text b.txt --num-steps 2000 --max-lr 3e-3
    uv run apps/train_ts.py --norm post --dry-run  # what would it cost?
    uv run apps/train_ts.py --num-steps None --max-seconds 600 --warmup-fraction 0.02   # for ten minutes
    uv run apps/train_ts.py --preset gpu --micro-batch-size 16 --activation-checkpointing  # less memory
    uv run apps/train_ts.py --optimizer muon --schedule trapezoid --ema-decay 0.999 --shuffle epochs
"""

import sys

from recipes.flags import parse_train_flags
from recipes.resume import check_resumed
from recipes.wrong_input import exit_code_of


def main(arguments: list[str]) -> int:
    """Train."""
    flags = parse_train_flags(__doc__ or "", arguments)
    check_resumed(flags)
    from recipes.run import run  # here: torch takes seconds, and wrong words should not

    return run(flags)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
