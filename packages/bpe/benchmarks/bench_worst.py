"""The worst texts: one letter, random letters, spaces, digits, emoji; 1 MB of each beside a tenth of it.

uv run benchmarks/bench_worst.py [--repetitions N]  # in packages/bpe

A pretoken of a million bytes makes a quadratic encoder stand still: ten times the text should take ten times
as long. The tokenizer is trained on stretches like these, so that merges apply; a new one encodes each text.
"""

import argparse
import logging
import random
import statistics
import string
import tempfile
from collections.abc import Callable
from pathlib import Path

from corpora import END_OF_TEXT
from fresh import measure
from hornbook.bpe import Tokenizer, train_bpe
from rounds import print_machine, verdict

NUM_BYTES = 1_000_000
VOCAB_SIZE = 10_000


def texts(num_bytes: int) -> dict[str, str]:
    """One text of each kind; the random ones have the same beginning at every size."""
    draw = random.Random(0)
    return {
        "one letter": "a" * num_bytes,
        "random letters": "".join(draw.choices(string.ascii_lowercase, k=num_bytes)),
        "spaces": " " * num_bytes,
        "digits": "".join(draw.choices(string.digits, k=num_bytes)),
        "emoji": "🙂" * (num_bytes // 4),
        "random emoji": "".join(chr(0x1F600 + draw.randrange(64)) for _ in range(num_bytes // 4)),
    }


def compare(title: str, prepare: Callable[[str], Callable[[], object]], repetitions: int) -> None:
    """Time what `prepare` makes of each text and of a tenth of it, in turn."""
    print(f"\n{title}: CPU seconds of 1 MB, and how many times as long as 100 KB")
    tenths = texts(NUM_BYTES // 10)
    for kind, text in texts(NUM_BYTES).items():
        long, short = [], []
        for _ in range(repetitions):
            short.append(measure(prepare(tenths[kind])).cpu)
            long.append(measure(prepare(text)).cpu)
        verdict(kind, long, "s", 1)
        verdict(f"{kind}, over 100 KB", [statistics.median(long) / statistics.median(short)], "times", 12)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    flags = parser.parse_args()
    logging.getLogger("hornbook").setLevel(logging.ERROR)  # one letter has too few pairs for 500 tokens
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        mixed = folder / "mixed.txt"
        mixed.write_text(END_OF_TEXT.join(texts(NUM_BYTES // 10).values()), encoding="utf-8")
        vocab, merges = train_bpe(mixed, VOCAB_SIZE, [END_OF_TEXT])

        def encoding(text: str) -> Callable[[], object]:
            tokenizer = Tokenizer(vocab, merges, [END_OF_TEXT])
            return lambda: tokenizer.encode(text)

        def training(text: str) -> Callable[[], object]:
            path = folder / "text.txt"
            path.write_text(text, encoding="utf-8")
            return lambda: train_bpe(path, 500, [END_OF_TEXT])

        compare("encode, a tokenizer that has seen nothing", encoding, flags.repetitions)
        compare("train to 500 tokens", training, flags.repetitions)


if __name__ == "__main__":
    main()
