"""Say what a Transformer costs: tables in the terminal, as Markdown, LaTeX, CSV or JSON, and plots.

The flags are those of `python -m hornbook.accounting`, and these: `--plots DIR` draws FLOP shares by model
size and by context length, and memory by batch; `--measure` measures this machine's matrix products, for MFU
and time on it; `--calibrate` measures what CUDA takes besides tensors; `--dry-run` says what would be done.

Examples:
    uv run apps/account.py --preset gpt2-xl --table memory --budget 80GB
    uv run apps/account.py --preset gpt2-xl --plots plots --batch-sizes 1 2 4 8 16
    uv run apps/account.py --preset tinystories --measure --mfu 0.4 --num-steps 5000 --batch-size 32
"""

import sys

from recipes.account import account
from recipes.wrong_input import exit_code_of

if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: account(__doc__, sys.argv[1:])))
