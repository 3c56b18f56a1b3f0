import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.trainer import permuted


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_it_is_a_permutation_whatever_size_and_key(size: int, key: int) -> None:
    order = permuted(np.arange(size, dtype=np.uint64), size, np.array([key], np.uint64))
    assert sorted(order.tolist()) == list(range(size))


@settings(deadline=None)
@given(st.integers(1, 2**62), st.integers(0, 2**64 - 1), st.data())
def test_huge_sizes_stay_in_range_without_collisions(size: int, key: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True))
    order = permuted(np.array(places, np.uint64), size, np.array([key], np.uint64))
    assert len(set(order.tolist())) == len(places)
    assert all(0 <= place < size for place in order.tolist())


def test_every_place_is_as_likely_as_any_other_for_each_index() -> None:
    # 20 places, 20,000 keys: each count has mean 1,000 and standard deviation 31.
    size, keys = 20, np.arange(20_000, dtype=np.uint64) * np.uint64(256)
    for index in range(size):
        places = permuted(np.full(len(keys), index, np.uint64), size, keys)
        counts = np.bincount(places.astype(np.int64), minlength=size)
        assert abs(counts - 1_000).max() < 155


def test_neighbours_do_not_stay_neighbours() -> None:
    size = 100_000
    order = permuted(np.arange(size, dtype=np.uint64), size, np.array([1], np.uint64)).astype(np.int64)
    # For a random permutation the mean distance of two entries is size / 3, with an error of 0.2 %.
    assert abs(np.abs(np.diff(order)).mean() / (size / 3) - 1) < 0.01
