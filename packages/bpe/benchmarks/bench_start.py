"""Starting: the import, and training 500 tokens on 130 KB of English, start-up included.

uv run benchmarks/bench_start.py [--data DIR] [--repetitions N]  # in packages/bpe

Every run is a process of its own; the import is timed beside that of numpy alone.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from corpora import add_flags, corpora
from fresh import fresh
from rounds import print_machine, verdict

NUM_BYTES = 130_000
VOCAB_SIZE = 500


def seconds_of(code: str) -> tuple[float, float]:
    """How long a fresh Python takes over some code, from its start to its end: by the clock, and CPU time."""
    wall, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - wall, used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.set_defaults(stories_bytes=NUM_BYTES, repetitions=15)
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        _, path = next(corpora(flags, Path(directory)))
        path_bytes = path.stat().st_size
        train = (
            f"from hornbook.bpe import train_bpe; train_bpe({str(path)!r}, {VOCAB_SIZE}, ['<|endoftext|>'])"
        )
        ours = "import numpy; from hornbook.bpe import Tokenizer, train_bpe"
        seconds_of(ours)  # Python writes its bytecode once
        numpy, imports, calls, wholes = [], [], [], []
        for _ in range(flags.repetitions):
            numpy.append(seconds_of("import numpy"))
            imports.append(seconds_of(ours))
            one = fresh("train", "hornbook", path, VOCAB_SIZE, 1, "greatest bytes")
            calls.append((one.wall, one.cpu))
            wholes.append(seconds_of(train))
    size = f"{path_bytes / 1e3:.0f} KB"
    for place, clock in enumerate(("seconds", "CPU seconds")):
        print(f"\n{clock}: median (range) of {flags.repetitions} processes")
        over = [mine[place] - base[place] for mine, base in zip(imports, numpy, strict=True)]
        verdict("import of Tokenizer and train_bpe, over numpy's", over, "s", 0.05)
        verdict(f"train {VOCAB_SIZE} tokens on {size}, the call", [one[place] for one in calls], "s", 0.1)
        verdict("the same, from Python's start to its end", [one[place] for one in wholes], "s", 0.3)


if __name__ == "__main__":
    main()
