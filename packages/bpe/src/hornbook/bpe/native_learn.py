"""Learns merges in the compiled core: `merges.learn_merges`, many times faster; see csrc/learn.c."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from .merges import check_tie_break, check_words
from .native import Handle
from .progress import Progress

_NUM_BYTES = 256

# Merges to learn before Python may be interrupted: the first join the most pairs, and take the longest.
_SLICE = 10
_LATER_SLICE = 100
_NUM_FIRST = 1000
# And before progress is told: as often as in pure Python.
_REPORT = 100

# The core numbers bytes of words, and one between words, in 32 bits.
_MOST_CELLS = 2**32 - 1


def learn_merges(
    library: ctypes.CDLL,
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    counts: NDArray[np.int64],
    num_merges: int,
    tie_break: str = "greatest bytes",
    progress: Progress | None = None,
) -> list[tuple[bytes, bytes]]:
    """As `merges.learn_merges`.

    Args:
        library: The compiled core, its functions declared.
        data: All words, one after another.
        ends: Where in `data` each word ends.
        counts: How often each word occurs.
        num_merges: The most merges to learn.
        tie_break: "greatest bytes" or "smallest ids".
        progress: Called with stage "merge".

    Raises:
        ValueError: As `merges.learn_merges`, and if the words have 2**32 bytes or more.
        MemoryError: If there is no memory left.
    """
    check_words(ends, counts)
    num_cells = len(data) + len(ends) + 1
    if num_cells > _MOST_CELLS:
        msg = (
            f"{len(ends)} distinct pretokens of {len(data)} bytes are too many: bytes and pretokens together "
            "must be fewer than 2**32; leave out pretokens that occur once"
        )
        raise ValueError(msg)
    packed = [np.ascontiguousarray(array) for array in (data, ends, counts)]
    addresses = [array.ctypes.data for array in packed]
    learner = Handle(library, "learner", *addresses, len(ends), num_merges, check_tie_break(tie_break))
    num_learned = 0
    while num_learned < num_merges:
        asked = min(_SLICE if num_learned < _NUM_FIRST else _LATER_SLICE, num_merges - num_learned)
        learned = library.hb_learner_run(learner.address, asked)
        if learned < 0:
            raise MemoryError
        num_learned += learned
        if learned < asked:
            break
        if progress is not None and num_learned % _REPORT == 0 and num_learned < num_merges:
            progress("merge", num_learned, num_merges)
    if progress is not None:
        progress("merge", num_learned, num_merges)
    pairs = np.empty((num_learned, 2), np.int32)
    library.hb_learner_merges(learner.address, pairs.ctypes.data)
    tokens = [bytes([value]) for value in range(_NUM_BYTES)]
    learned_pairs = pairs.tolist()
    for left, right in learned_pairs:
        tokens.append(tokens[left] + tokens[right])
    return [(tokens[left], tokens[right]) for left, right in learned_pairs]
