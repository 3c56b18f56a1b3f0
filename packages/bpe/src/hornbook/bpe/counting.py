"""Count the pretokens of a text, over as many threads as asked."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from itertools import accumulate, pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from . import engine
from .arguments import check_num_threads, check_progress
from .counts import PretokenCounts
from .cuts import BLOCK_BYTES, SafeCuts
from .engine import PackedCounts
from .patterns import Pattern, find_pattern
from .progress import Progress
from .sources import Block, InputPath, Source, open_source
from .special import SpecialTokens, check_special_tokens
from .stretches import Utf8
from .threads import ordered_map

# Of a thread's own counter: 32 MB in the core.
_MOST_PRETOKENS = 1 << 19

# Half as many blocks as elsewhere: counting takes so little that finding them counts.
_BLOCK_BYTES = 2 * BLOCK_BYTES

# A block that was counted holds no text. One that makes a counter grow takes twenty times as long as others,
# and the other threads shall not wait for it.
_RESULTS_AHEAD = 64


def count_pretokens(
    input_path: InputPath,
    special_tokens: Sequence[str],
    *,
    pattern: str = "gpt2",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> PretokenCounts:
    """Count how often each pretoken occurs, special tokens apart.

    Counts of parts of a corpus can be saved, loaded, added and given to `train_from_counts`.

    Args:
        input_path: The text, as for `train_bpe`.
        special_tokens: Strings that are cut out of the text before anything else, the longest first.
        pattern: What cuts the rest into pretokens: "gpt2", "cl100k", "o200k" or a regex.
        num_threads: Threads that count; by default one for each processor. The counts do not depend on it.
        progress: Called with stage "count".

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a special token is empty or given twice, or the text is damaged or not UTF-8.
        FileNotFoundError: If there is no such file.

    Example:
        >>> counts = count_pretokens(iter(["low low<|endoftext|>lower"]), ["<|endoftext|>"])
        >>> list(counts.items())
        [(b' low', 1), (b'low', 1), (b'lower', 1)]
    """
    specials = check_special_tokens(special_tokens)
    found = find_pattern(pattern)
    threads = check_num_threads(num_threads)
    check_progress(progress)
    counters, num_bytes = count_source(open_source(input_path), specials, found, threads, progress)
    return PretokenCounts.from_sorted(found.key, specials, in_order(counters, threads), num_bytes)


def count_source(
    source: Source,
    special_tokens: Sequence[str],
    pattern: Pattern,
    num_threads: int,
    progress: Progress | None = None,
    *,
    block_bytes: int = _BLOCK_BYTES,
) -> tuple[list[engine.Counter], int]:
    """Counters that have counted the text together, and the number of bytes of text.

    Each thread has a counter of its own; when one is so large that several of them would take memory that
    matters, it is added to another.
    """
    specials = SpecialTokens(dict.fromkeys(special_tokens, 0))
    idle = [engine.new_counter(pattern, specials)]
    total: engine.Counter | None = None
    adding = Lock()

    def count(block: Block) -> Block:
        nonlocal total
        counter: engine.Counter | None = None
        with suppress(IndexError):
            counter = idle.pop()
        if counter is None:  # one at most for each thread is ever made
            counter = engine.new_counter(pattern, specials)
        block.give(counter.add_text)
        block.drop()
        if num_threads == 1 or len(counter) <= _MOST_PRETOKENS:
            idle.append(counter)
            return block
        with adding:
            if total is None:
                total = counter
            else:
                total.add_counts(counter.result())
        return block

    num_bytes = 0
    blocks = source.blocks(SafeCuts(pattern, special_tokens), block_bytes)
    work = ordered_map(count, blocks, num_threads, results_ahead=_RESULTS_AHEAD)
    with closing(work) as counted:
        for block in counted:
            num_bytes += block.size
            if progress is not None:
                progress("count", block.done, source.total)
    return (idle if total is None else [*idle, total]), num_bytes


def added_up(counters: Iterable[engine.Counter]) -> PackedCounts:
    """What the counters have counted together, in no particular order."""
    smaller = sorted(counters, key=len)
    largest = smaller.pop()
    for counter in smaller:
        largest.add_counts(counter.result())
    return largest.result()


def in_order(counters: Sequence[engine.Counter], num_threads: int = 1) -> PackedCounts:
    """What the counters have counted together, in ascending order; they are used up by it."""
    for _ in ordered_map(lambda counter: counter.sort(), counters, num_threads):
        pass
    return counters[0].sorted_result(counters[1:])


class PureCounter:
    """Counts pretokens in pure Python.

    Args:
        pattern: What cuts text into pretokens.
        specials: What is cut out before.
    """

    def __init__(self, pattern: Pattern, specials: SpecialTokens) -> None:
        self._pattern = pattern
        self._specials = specials
        self._counts: Counter[bytes] = Counter()

    def add_text(self, block: Utf8) -> None:
        """Count the pretokens between special tokens."""
        found: Counter[str] = Counter()
        for segment in self._specials.split(str(block, "utf-8"))[::2]:
            found.update(self._pattern.split(segment))
        for pretoken, count in found.items():
            self._counts[pretoken.encode()] += count

    def add_counts(self, counts: PackedCounts) -> None:
        """Add what was counted elsewhere."""
        data, start = counts.data.tobytes(), 0
        for end, count in zip(counts.ends.tolist(), counts.counts.tolist(), strict=True):
            self._counts[data[start:end]] += count
            start = end

    def __len__(self) -> int:
        """How many different pretokens were counted so far."""
        return len(self._counts)

    def result(self) -> PackedCounts:
        """Everything counted so far, in no particular order."""
        size = len(self._counts)
        return PackedCounts(
            np.frombuffer(b"".join(self._counts), np.uint8),
            np.fromiter(accumulate(map(len, self._counts)), np.int64, size),
            np.fromiter(self._counts.values(), np.int64, size),
        )

    def sort(self) -> None:
        """Put what was counted in ascending order; the only thing left to do with it is `sorted_result`."""
        self._counts = Counter(dict(sorted(self._counts.items())))

    def sorted_result(self, others: "Sequence[PureCounter]") -> PackedCounts:
        """What this counter and others counted together, all of them sorted before."""
        if others:
            for other in others:
                self._counts.update(other._counts)
            self.sort()
        return self.result()


def is_ascending(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> bool:
    """`engine.is_ascending`, in pure Python."""
    starts = [0, *ends.tolist()]
    words = (data[start:end].tobytes() for start, end in pairwise(starts))
    return all(word < after for word, after in pairwise(words))
