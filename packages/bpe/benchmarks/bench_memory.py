"""Peaks of resident memory: training, whatever the corpus, and `encode_file`, whatever the size.

uv run benchmarks/bench_memory.py [--data DIR] [--rare-bytes N] [--rare-words N]  # in packages/bpe

The rare words are generated: random letters, so many different ones that the table of pretokens is what
counts. Each run is a process of its own, measured whole: Python and numpy, about 35 MB, are included.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from bench_train import VOCAB_SIZES
from corpora import END_OF_TEXT, add_flags, corpora, write_rare_words
from fresh import fresh
from hornbook.bpe import Tokenizer, train_bpe
from rounds import print_machine, verdict

MEGABYTE = 1_000_000


def training_peak(name: str, path: Path, vocab_size: int) -> None:
    num_unique = fresh("count", path, 1).answer
    limit = 300 + 100 * num_unique / MEGABYTE
    size = f"{path.stat().st_size / MEGABYTE:.0f} MB"
    print(f"\ntrain {vocab_size:,} tokens on {name}, {size}, {num_unique:,} different pretokens")
    for num_threads in (1, 2):
        measured = fresh("train", "hornbook", path, vocab_size, num_threads, "greatest bytes")
        verdict(f"peak, threads: {num_threads}", [measured.peak_bytes / MEGABYTE], "MB", limit)


def encoding_peaks(name: str, path: Path, tokenizer: Path) -> None:
    """The file and four of it in one: flat means that the size makes no difference.

    Up to its bound, an encoder's memory grows with the number of different pretokens, of which a part of the
    file would have fewer.
    """
    four, tokens = path.with_suffix(".four"), path.with_suffix(".bin")
    with four.open("wb") as file:
        for _ in range(4):
            with path.open("rb") as source:
                shutil.copyfileobj(source, file)
    size = path.stat().st_size / MEGABYTE
    print(f"\nencode_file of {name}, {size:.0f} MB and {4 * size:.0f} MB")
    for num_threads in (1, 2):
        once, four_times = (
            fresh("encode_file", tokenizer, text, tokens, num_threads).peak_bytes for text in (path, four)
        )
        verdict(f"peak a worker, threads: {num_threads}", [four_times / num_threads / MEGABYTE], "MB", 150)
        verdict("four of the file over one", [four_times / once], "times", 1.1)
    four.unlink()
    tokens.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument("--rare-bytes", type=int, default=1_000_000_000)
    parser.add_argument("--rare-words", type=int, default=5_000_000, help="how many different ones at most")
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for name, path in corpora(flags, folder):
            training_peak(name, path, VOCAB_SIZES[name])
            vocab, merges = train_bpe(path, VOCAB_SIZES[name], [END_OF_TEXT])
            tokenizer = folder / f"tokenizer-{name}"
            Tokenizer(vocab, merges, [END_OF_TEXT]).save(tokenizer)
            encoding_peaks(name, path, tokenizer)
            path.unlink()  # the texts needn't lie on the disk all at once
        rare = folder / "rare.txt"
        write_rare_words(rare, flags.rare_bytes, flags.rare_words)
        encoding_peaks("rare words", rare, tokenizer)
        training_peak("rare words", rare, 32_000)


if __name__ == "__main__":
    main()
