"""Byte strings packed one after another into an array, with the place where each ends.

A million strings as Python objects take 33 bytes each and their own; packed, they take 8.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Strings are compared by so many bytes at a time, as one number.
_STEP = 8

# Strings that agree so far are few, and hardly larger as Python objects: Python does the rest.
_AGREEING_BYTES = 64

# So many strings are Python objects at a time while they are copied.
_COPIED_AT_ONCE = 1 << 14


def starts_of(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each string begins."""
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1]
    return starts


def sorted_order(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order that sorts the strings as Python sorts bytes.

    Example:
        >>> sorted_order(np.frombuffer(b"baba", np.uint8), np.array([1, 2, 4])).tolist()  # b, a, ba
        [1, 0, 2]
    """
    starts = starts_of(ends)
    order = np.arange(len(ends))
    # The strings whose place is open, the places that they share, and which of them have agreed until now.
    tied, places, group = order, order.copy(), np.zeros_like(order)
    for depth in range(0, _AGREEING_BYTES, _STEP):
        begins = starts[tied] + depth
        keys, lengths = _keys(data, begins, ends[tied])
        inner = np.lexsort((lengths, keys, group))
        tied, keys, lengths, group = tied[inner], keys[inner], lengths[inner], group[inner]
        order[places] = tied
        is_first = np.ones(len(tied), bool)
        is_first[1:] = (group[1:] != group[:-1]) | (keys[1:] != keys[:-1])
        group = np.cumsum(is_first)
        is_open = (lengths == _STEP) & (np.bincount(group)[group] > 1)
        tied, places, group = tied[is_open], places[is_open], group[is_open]
        if not len(tied):
            return order
    borders = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
    for begin, end in pairwise(borders.tolist()):
        rest = {
            index: data[starts[index] + _AGREEING_BYTES : ends[index]].tobytes()
            for index in tied[begin:end].tolist()
        }
        order[places[begin:end]] = sorted(rest, key=rest.__getitem__)
    return order


def is_ascending(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> bool:
    """Whether each string is smaller than the next.

    Example:
        >>> is_ascending(np.frombuffer(b"aab", np.uint8), np.array([1, 3]))
        True
        >>> is_ascending(np.frombuffer(b"aa", np.uint8), np.array([1, 2]))
        False
    """
    starts = starts_of(ends)
    tied = np.arange(len(ends) - 1) if len(ends) else np.arange(0)
    for depth in range(0, _AGREEING_BYTES, _STEP):
        keys, lengths = _keys(data, starts[tied] + depth, ends[tied])
        next_keys, next_lengths = _keys(data, starts[tied + 1] + depth, ends[tied + 1])
        agrees = (keys == next_keys) & (lengths == next_lengths)
        ascends = (keys < next_keys) | ((keys == next_keys) & (lengths < next_lengths))
        if not (ascends | (agrees & (lengths == _STEP))).all():
            return False
        tied = tied[agrees]
    return all(
        data[starts[index] : ends[index]].tobytes() < data[ends[index] : ends[index + 1]].tobytes()
        for index in tied.tolist()
    )


def gather(
    data: NDArray[np.uint8], ends: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Data and ends of the strings in another order."""
    starts = starts_of(ends)
    new_ends = np.cumsum((ends - starts)[order])
    new_data = np.empty_like(data)
    view = data.data
    place = 0
    for begin in range(0, len(order), _COPIED_AT_ONCE):
        some = order[begin : begin + _COPIED_AT_ONCE]
        spans = zip(starts[some].tolist(), ends[some].tolist(), strict=True)
        joined = b"".join([view[start:end] for start, end in spans])
        new_data[place : place + len(joined)] = np.frombuffer(joined, np.uint8)
        place += len(joined)
    return new_data, new_ends


def _keys(
    data: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The next bytes of each string as a number that compares as they do, and how many there were.

    Zeros stand for what is missing; where the numbers are equal, the shorter string is the smaller.
    """
    lengths = np.clip(ends - begins, 0, _STEP)
    keys = np.zeros(len(begins), np.uint64)
    for index in range(_STEP):
        # Beyond the end any byte will do: it is replaced by zero.
        bytes_here = data[np.minimum(begins + index, len(data) - 1)]
        keys = keys << np.uint64(8) | np.where(index < lengths, bytes_here, np.uint8(0))
    return keys, lengths
