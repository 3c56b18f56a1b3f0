"""Two threads beside one: counting pretokens, and encoding a file into a token file; by the wall clock.

uv run benchmarks/bench_threads.py [--data DIR] [--repetitions N]  # in packages/bpe

Only a machine with nothing else to do shows what two threads gain: each round waits up to a few seconds until
other programs are quiet, and what they took meanwhile is printed. Warm: a tokenizer that has encoded the text
before on as many threads, so often that each has met nearly all of it. Cold: one that has seen nothing, so
each thread learns the pretokens by itself.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench_train import VOCAB_SIZES
from corpora import END_OF_TEXT, add_flags, corpora
from fresh import Measured, measure
from hornbook.bpe import Tokenizer, count_pretokens, train_bpe
from rounds import alternate, print_machine, print_ratios

_STAT = Path("/proc/stat")
_TICKS_A_SECOND = 100
_ROUNDS_TO_WARM = 6  # of two threads, each meets half of what it has not met in each


def busy_seconds() -> float:
    """Seconds that all processors together have worked so far; 0 where the system doesn't tell."""
    if not _STAT.exists():
        return 0.0
    user, nice, system, _idle, _wait, *rest = map(int, _STAT.read_text(encoding="ascii").split()[1:9])
    return (user + nice + system + sum(rest)) / _TICKS_A_SECOND


def wait_for_quiet() -> None:
    for _ in range(50):
        before = busy_seconds()
        time.sleep(0.1)
        if busy_seconds() - before <= 0.02:
            return


def measured_quietly(work: Callable[[], object], others: list[float]) -> Measured:
    """Time one call; appends how many processors others kept busy meanwhile."""
    gc.collect()
    wait_for_quiet()
    before = busy_seconds()
    measured = measure(lambda: work() is None)
    others.append(max(0.0, busy_seconds() - before - measured.cpu) / measured.wall)
    return measured


def compare(title: str, path: Path, work: Callable[[int], Callable[[], object]], repetitions: int) -> None:
    """Print what `work(2)` gains over `work(1)`, each of them made anew for every round."""
    others: list[float] = []
    contestants = {
        "two threads": lambda: measured_quietly(work(2), others),
        "one thread": lambda: measured_quietly(work(1), others),
    }
    alternate(contestants, 1)  # the text is in memory, and everything imported
    others.clear()
    measured = alternate(contestants, repetitions)
    megabytes = path.stat().st_size / 1e6
    print_ratios(f"{title}, {megabytes:.1f} MB", measured, megabytes, clock="wall", targets={"one": 1.8})
    print(
        f"  other programs kept {sum(others) / len(others):.2f} processors busy (at most {max(others):.2f})"
    )


def measure_corpus(name: str, path: Path, repetitions: int) -> None:
    folder, tokens = path.with_suffix(".tokenizer"), path.with_suffix(".bin")
    Tokenizer(*train_bpe(path, VOCAB_SIZES[name], [END_OF_TEXT]), [END_OF_TEXT]).save(folder)
    warm = {num_threads: Tokenizer.load(folder) for num_threads in (1, 2)}

    for num_threads, tokenizer in warm.items():
        for _ in range(_ROUNDS_TO_WARM):
            tokenizer.encode_file(path, tokens, num_threads=num_threads)

    def counting(num_threads: int) -> Callable[[], object]:
        return partial(count_pretokens, path, [END_OF_TEXT], num_threads=num_threads)

    def encoding(tokenizer: Tokenizer, num_threads: int) -> Callable[[], object]:
        tokens.unlink(missing_ok=True)  # to delete the one before would count as work
        tokenizer.fingerprint  # noqa: B018 - is worked out once
        return partial(tokenizer.encode_file, path, tokens, num_threads=num_threads)

    compare(f"count_pretokens of {name}", path, counting, repetitions)
    compare(f"encode_file of {name}, warm", path, lambda n: encoding(warm[n], n), repetitions)
    compare(f"encode_file of {name}, cold", path, lambda n: encoding(Tokenizer.load(folder), n), repetitions)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        for name, path in corpora(flags, Path(directory)):
            measure_corpus(name, path, flags.repetitions)
            path.unlink()  # the texts needn't lie on the disk all at once


if __name__ == "__main__":
    main()
