import io
import json
from itertools import pairwise

import pytest
import torch
import torch.distributed.checkpoint  # seconds, which are not the first example's
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hornbook.trainer.shards import (
    Assembly,
    Part,
    encode_shard,
    parts_in,
    shard_of,
    whole_infos,
)
from hornbook.trainer.tensor_file import Header, TensorInfo, encode, read_header

WHOLE = torch.arange(60.0).reshape(10, 6)


def header_with(offsets: object, **sizes: tuple[int, ...]) -> Header:
    """The header of a file of zeros that says this of where they belong."""
    metadata = {} if offsets is None else {"DCP_SHARDING_INFO": json.dumps(offsets)}
    tensors = {name: torch.zeros(size) for name, size in sizes.items()}
    return read_header(io.BytesIO(b"".join(map(bytes, encode(tensors, metadata)))))


def cuts(total: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Ways to cut so many rows into pieces, some of them empty."""
    borders = st.lists(st.integers(0, total), max_size=4).map(lambda places: sorted([0, *places, total]))
    return borders.map(lambda places: list(pairwise(places)))


@given(cuts(10), cuts(6))
def test_parts_of_any_cut_make_up_the_whole(
    rows: list[tuple[int, int]], columns: list[tuple[int, int]]
) -> None:
    tensors: dict[str, dict[str, Tensor]] = {}
    files: dict[str, dict[str, Part]] = {}
    for top, bottom in rows:
        for left, right in columns:
            part = WHOLE[top:bottom, left:right]
            if part.numel():
                file = f"{top}-{left}"
                tensors[file] = {"weight": part, "another": WHOLE}
                files[file] = {"weight": Part(TensorInfo(part.dtype, tuple(part.shape)), (top, left))}
    whole = torch.full((10, 6), -1.0)
    assembly = Assembly({"weight": whole}, files)
    for file in files:
        assembly.add(file, tensors[file])
    assert torch.equal(whole, WHOLE)


def test_what_is_whole_lies_at_the_beginning() -> None:
    header = read_header(io.BytesIO(b"".join(map(bytes, encode_shard(shard_of({"weight": WHOLE}))))))
    parts = parts_in(header)
    assert parts == {"weight": Part(TensorInfo(torch.float32, (10, 6)), (0, 0))}
    assert whole_infos([parts])["weight"].shape == (10, 6)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (None, "doesn't say where its parts belong"),
        ({}, "doesn't say where its part of 'weight' belongs"),
        ({"weight": {"saved_offsets": [0]}}, "doesn't say where its part of 'weight' belongs"),
        ({"weight": {"saved_offsets": [-1, 0]}}, "doesn't say where its part of 'weight' belongs"),
        ({"weight": {"saved_offsets": [0.5, 0]}}, "doesn't say where its part of 'weight' belongs"),
        ({"weight": {"saved_offsets": [2**62, 0]}}, "doesn't say where its part of 'weight' belongs"),
        ({"weight": {"saved_offsets": "12"}}, "doesn't say where its part of 'weight' belongs"),
        ({"weight": {"saved_offsets": [2**40, 0]}}, "has 6 elements of 'weight', which is "),
    ],
)
def test_a_header_that_lies_about_its_place_is_refused_before_anything_is_allocated(
    offsets: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        whole_infos([parts_in(header_with(offsets, weight=(2, 3)))])


def test_parts_that_differ_in_kind_or_leave_a_gap_are_refused() -> None:
    first = header_with({"weight": {"saved_offsets": [0, 0]}}, weight=(2, 3))
    flat = header_with({"weight": {"saved_offsets": [2]}}, weight=(3,))
    far = header_with({"weight": {"saved_offsets": [3, 0]}}, weight=(2, 3))
    with pytest.raises(ValueError, match=r"has parts of 'weight' that are .* of shape \(3,\) and"):
        whole_infos(map(parts_in, [first, flat]))
    with pytest.raises(ValueError, match="has 12 elements of 'weight', which is"):
        whole_infos(map(parts_in, [first, far]))
