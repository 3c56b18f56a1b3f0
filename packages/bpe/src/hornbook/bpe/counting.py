"""Count the pretokens of a text, over as many threads as asked."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import accumulate
from threading import Lock

import numpy as np

from . import engine
from .arguments import check_num_threads, check_progress
from .counts import PretokenCounts
from .cuts import BLOCK_BYTES, SafeCuts
from .engine import PackedCounts
from .ordering import starts_of
from .patterns import Pattern, find_pattern
from .progress import Progress
from .sources import Block, InputPath, Source, open_source
from .special import SpecialTokens, check_special_tokens
from .threads import ordered_map

# Of a thread's own counter: 32 MB in the core.
_MOST_PRETOKENS = 1 << 19


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
    packed, num_bytes = count_source(open_source(input_path), specials, found, threads, progress)
    return PretokenCounts.from_packed(found.key, specials, packed, num_bytes)


def count_source(
    source: Source,
    special_tokens: Sequence[str],
    pattern: Pattern,
    num_threads: int,
    progress: Progress | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[PackedCounts, int]:
    """The counts in no particular order, and the number of bytes of text.

    The text is read in the caller's thread. Each thread has a counter of its own, and at the end they are
    added up; or before, when one is so large that several of them would take memory that matters.
    """
    specials = SpecialTokens(dict.fromkeys(special_tokens, 0))
    idle = [engine.new_counter(pattern, specials)]
    total: engine.Counter | None = None
    adding = Lock()

    def count(block: Block) -> Block:
        nonlocal total
        try:
            counter = idle.pop()  # one at most for each thread is ever made
        except IndexError:
            counter = engine.new_counter(pattern, specials)
        block.give(counter.add_text)
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
    with closing(ordered_map(count, blocks, num_threads)) as counted:
        for block in counted:
            num_bytes += len(block.text)
            if progress is not None:
                progress("count", block.done, source.total)
    counters = sorted(idle if total is None else [*idle, total], key=len)
    largest = counters.pop()
    for counter in counters:
        largest.add_counts(counter.result())
    return largest.result(), num_bytes


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

    def add_text(self, block: bytes) -> None:
        """Count the pretokens between special tokens."""
        found: Counter[str] = Counter()
        for segment in self._specials.split(block.decode())[::2]:
            found.update(self._pattern.split(segment))
        for pretoken, count in found.items():
            self._counts[pretoken.encode()] += count

    def add_counts(self, counts: PackedCounts) -> None:
        """Add what was counted elsewhere."""
        data = counts.data.tobytes()
        starts = starts_of(counts.ends)
        for start, end, count in zip(
            starts.tolist(), counts.ends.tolist(), counts.counts.tolist(), strict=True
        ):
            self._counts[data[start:end]] += count

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
