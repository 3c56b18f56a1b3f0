"""Encoding beside gigatoken and tiktoken: the same vocabulary, and the same ids before anything is timed.

uv run --group benchmarks benchmarks/bench_encode.py [--data DIR] [--repetitions N]  # in packages/bpe

Warm: one process, everyone has encoded the whole text before. Cold: a process a run, a tokenizer that has
seen nothing. By CPU time; what two threads gain, bench_threads.py measures.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import peers
from bench_train import VOCAB_SIZES
from corpora import END_OF_TEXT, add_flags, corpora
from encoders import MAKERS, Encoder, Text, flat
from fresh import Measured, fresh, measure
from hornbook.bpe import Tokenizer, train_bpe
from rounds import alternate, print_machine, print_ratios

END_OF_DOCUMENT = Text(END_OF_TEXT.encode(), END_OF_TEXT)
LIST_BYTES = 20_000_000  # of the text that is encoded to a list of Python numbers: 32 bytes a token and more


def require_same_ids(encoders: dict[str, Encoder], text: Text) -> None:
    """Stop if someone disagrees on the text; `encode_batch` of gigatoken leaves the special tokens out."""
    expected = flat(encoders["hornbook"](text))
    ordinary = expected[expected != flat(encoders["hornbook"](END_OF_DOCUMENT))]
    for name, encoder in encoders.items():
        ids = flat(encoder(text))
        if not np.array_equal(ids, ordinary if name.endswith("encode_batch") else expected):
            sys.exit(f"{name} gives other ids: nothing to compare")


def timed(work: Callable[..., Any], *arguments: Any) -> Callable[[], Measured]:
    """The work as a contestant whose answer is dropped."""
    return partial(measure, lambda: work(*arguments) is None)


def measure_numpy(name: str, folder: Path, path: Path, flags: argparse.Namespace) -> None:
    text = Text.read(path)
    megabytes = len(text.data) / 1e6
    encoders: dict[str, Encoder] = {}
    for maker in MAKERS.values():
        encoders |= maker(folder)
    require_same_ids(encoders, text)
    warm = {contestant: timed(encoder, text) for contestant, encoder in encoders.items()}
    measured = alternate(warm, flags.repetitions, {"tiktoken": flags.slow_repetitions})
    title = f"encode {name} to numpy, {megabytes:.1f} MB, one thread"
    print_ratios(
        f"{title}, warm", measured, megabytes, clock="cpu", targets={"gigatoken": 1.8, "tiktoken": 30}
    )

    cold = {
        contestant: partial(fresh, "encode", contestant, folder, path)
        for contestant in encoders
        if contestant != "tiktoken"  # remembers nothing: its cold is its warm
    }
    targets = {"gigatoken": 1.2} if name == "web" else {}
    measured = alternate(cold, flags.repetitions)
    print_ratios(f"{title}, cold", measured, megabytes, clock="cpu", targets=targets)


def measure_list(name: str, folder: Path, path: Path, flags: argparse.Namespace) -> None:
    with path.open("rb") as file:
        data = file.read(LIST_BYTES)
    string = data[: data.rindex(END_OF_TEXT.encode())].decode()
    tokenizer = Tokenizer.load(folder)
    tiktoken = peers.same_tiktoken(tokenizer.vocab)
    if tokenizer.encode(string) != tiktoken.encode(string, allowed_special="all"):
        sys.exit("tiktoken gives other ids: nothing to compare")
    contestants = {
        "hornbook": timed(tokenizer.encode, string),
        "tiktoken": timed(partial(tiktoken.encode, string, allowed_special="all")),
    }
    measured = alternate(contestants, flags.repetitions)
    megabytes = len(string.encode()) / 1e6
    title = f"encode {name} to a list, {megabytes:.1f} MB, one thread, warm"
    print_ratios(title, measured, megabytes, clock="cpu", targets={"tiktoken": 6})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument(
        "--slow-repetitions", type=int, default=2, help="rounds with tiktoken on the whole text"
    )
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        for name, path in corpora(flags, Path(directory)):
            folder = Path(directory) / f"tokenizer-{name}"
            Tokenizer(*train_bpe(path, VOCAB_SIZES[name], [END_OF_TEXT]), [END_OF_TEXT]).save(folder)
            measure_numpy(name, folder, path, flags)
            measure_list(name, folder, path, flags)


if __name__ == "__main__":
    main()
