"""A random order of 0 … n - 1 that is computed place by place: no memory, whatever n is."""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6


def permuted(index: NDArray[np.uint64], size: int, key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return where each index stands in the order of its key; all indices give all of 0 … size - 1.

    A Feistel network of six rounds (Luby & Rackoff, 1988) permutes the numbers of 2 h bits, the smallest such
    range that holds `size`; a result past the end goes through it again until it lies within (cycle walking;
    Black & Rogaway, 2002): at most four times on average.

    Args:
        index: Below `size`.
        size: n, at least 1, at most 2**62.
        key: One for each index, or one for all.

    Example:
        >>> order = permuted(np.arange(6, dtype=np.uint64), 6, np.uint64(7))
        >>> order.tolist() != list(range(6)), sorted(order.tolist())
        (True, [0, 1, 2, 3, 4, 5])
    """
    half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    result = np.array(index, dtype=np.uint64)
    keys = np.broadcast_to(np.asarray(key, np.uint64), result.shape)
    outside = np.ones(result.shape, dtype=bool)
    while outside.any():
        result[outside] = _feistel(result[outside], half, keys[outside])
        outside = result >= size
    return result


def _feistel(value: NDArray[np.uint64], half: np.uint64, key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for number in range(_ROUNDS):
        left, right = right, left ^ (_mixed(right ^ _mixed(key + np.uint64(number))) & mask)
    return left << half | right


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele et al., 2014): every bit of the result depends on every bit."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
