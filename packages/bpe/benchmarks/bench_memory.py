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
    """The text repeated to half a gigabyte and to a whole one: flat means that the size makes no difference.

    Up to its bound, a thread's memory grows with the number of different pretokens that it has met: with two
    threads it takes several times the text until each has met nearly all.
    """
    tokens = path.with_suffix(".bin")
    files = {size: path.with_suffix(f".{size}") for size in (500, 1_000)}
    for size, file in files.items():
        repeat(path, size * MEGABYTE, file)
    print(f"\nencode_file of {name}, {path.stat().st_size / MEGABYTE:.0f} MB, repeated")
    for num_threads in (1, 2):
        half, whole = (
            fresh("encode_file", tokenizer, file, tokens, num_threads).peak_bytes for file in files.values()
        )
        verdict(f"peak a worker, threads: {num_threads}", [whole / num_threads / MEGABYTE], "MB", 150)
        verdict("1,000 MB over 500 MB", [whole / half], "times", 1.1)
    for file in (tokens, *files.values()):
        file.unlink()


def repeat(path: Path, num_bytes: int, repeated: Path) -> None:
    """Write a file again and again into another, until that has so many bytes."""
    with repeated.open("wb") as file:
        while file.tell() < num_bytes:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file)


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
        write_rare_words(rare, flags.rare_bytes // 10, flags.rare_words)
        encoding_peaks("rare words", rare, tokenizer)
        write_rare_words(rare, flags.rare_bytes, flags.rare_words)
        training_peak("rare words", rare, 32_000)


if __name__ == "__main__":
    main()
