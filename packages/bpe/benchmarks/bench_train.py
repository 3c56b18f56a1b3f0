"""Training beside gigatoken and Hugging Face tokenizers: the same merges from the same documents.

uv run --group benchmarks benchmarks/bench_train.py [--data DIR] [--repetitions N]  # in packages/bpe

Each run is a process of its own, in alternating rounds. CPU time is that of all threads.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from corpora import add_flags, corpora
from fresh import Measured, fresh
from rounds import alternate, print_machine, print_ratios

VOCAB_SIZES = {"stories": 10_000, "web": 32_000}
TARGETS = {"stories": {"gigatoken": 3, "tokenizers": 50}, "web": {"gigatoken": 3, "tokenizers": 25}}
SAME_TIES = "smallest ids"  # Hugging Face's rule, which the peers have too
OWN_TIES = "greatest bytes"


def training(
    contestant: str, path: Path, vocab_size: int, num_threads: int, ties: str
) -> Callable[[], Measured]:
    """One way to train, ready to run."""
    return lambda: fresh("train", contestant, path, vocab_size, num_threads, ties, num_threads=num_threads)


def measure_corpus(name: str, path: Path, flags: argparse.Namespace) -> None:
    vocab_size, megabytes = VOCAB_SIZES[name], path.stat().st_size / 1e6
    for num_threads in (1, 2):
        contestants = {
            "hornbook": training("hornbook", path, vocab_size, num_threads, SAME_TIES),
            "hornbook, its own rule for ties": training("hornbook", path, vocab_size, num_threads, OWN_TIES),
        }
        if find_spec("gigatoken") is not None:
            contestants["gigatoken"] = training("gigatoken", path, vocab_size, num_threads, SAME_TIES)
        if num_threads == 1 and flags.slow_repetitions:
            contestants["tokenizers"] = training("tokenizers", path, vocab_size, num_threads, SAME_TIES)
        measured = alternate(contestants, flags.repetitions, {"tokenizers": flags.slow_repetitions})
        merges = {
            rounds[0].answer for contestant, rounds in measured.items() if not contestant.endswith("for ties")
        }
        if len(merges) != 1:
            sys.exit(f"on {name}, not everyone learned the same merges: nothing to compare")
        title = f"train {vocab_size:,} tokens on {name}, {megabytes:.1f} MB, threads: {num_threads}"
        print_ratios(title, measured, megabytes, clock="cpu", targets=TARGETS[name])
        if num_threads > 1:
            print_ratios(title, measured, megabytes, clock="wall", targets={})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument(
        "--slow-repetitions", type=int, default=1, help="rounds with Hugging Face's; minutes each"
    )
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        for name, path in corpora(flags, Path(directory)):
            measure_corpus(name, path, flags)


if __name__ == "__main__":
    main()
