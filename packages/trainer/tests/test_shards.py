import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import Shard as Placement
from torch.testing._internal.distributed.fake_pg import FakeStore

from hornbook.trainer.shards import (
    Assembly,
    Part,
    encode_shard,
    here,
    parts_in,
    room_for,
    shard_names,
    shard_of,
    whole_infos,
)
from hornbook.trainer.tensor_file import Header, TensorInfo, encode, read_header, read_tensors

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


@settings(deadline=None)
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


@contextmanager
def process(rank: int, size: int) -> Iterator[DeviceMesh]:
    """Be one of so many processes, which never talk."""
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    try:
        # Its name tells torch's caches that it is of another process.
        yield DeviceMesh("cpu", list(range(size)), mesh_dim_names=(f"of-{rank}",))
    finally:
        dist.destroy_process_group()


def cut(whole: Tensor, mesh: DeviceMesh, axis: int) -> DTensor:
    """What a process has of a tensor that is cut along an axis, as FSDP does it."""
    parts = [*whole.chunk(mesh.size(), axis), *[whole.narrow(axis, 0, 0)] * mesh.size()]
    part = parts[mesh.get_rank()].contiguous()
    return DTensor.from_local(
        part, mesh, [Placement(axis)], run_check=False, shape=whole.shape, stride=whole.stride()
    )


@settings(deadline=None)  # the first example imports much
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1), st.integers(0, 1))
def test_shards_of_any_number_of_processes_are_cut_anew_for_any_other(
    writers: int, readers: int, written_axis: int, read_axis: int
) -> None:
    files: dict[str, bytes] = {}
    for rank, name in enumerate(shard_names(writers)):
        with process(rank, writers) as mesh:
            files[name] = b"".join(
                map(bytes, encode_shard(shard_of({"weight": cut(WHOLE, mesh, written_axis)})))
            )
    headers = {name: read_header(io.BytesIO(file)) for name, file in files.items()}
    parts = {name: parts_in(header) for name, header in headers.items()}
    (info,) = whole_infos(parts.values()).values()
    for rank in range(readers):
        with process(rank, readers) as mesh:
            expected = cut(WHOLE, mesh, read_axis)
            room = room_for(info, expected)
            assembly = Assembly({"weight": room}, parts)
            for name, header in headers.items():
                file = io.BytesIO(files[name][len(header.raw) :])
                assembly.add(name, read_tensors(file, header, lambda _: None))
            assert torch.equal(here(room), here(expected))


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
    longer = header_with({"weight": {"saved_offsets": [0, 0]}}, weight=(4, 3))
    last = header_with({"weight": {"saved_offsets": [6, 0]}}, weight=(2, 3))
    with pytest.raises(ValueError, match=r"has two parts of 'weight' that begin at \(0, 0\)"):
        whole_infos(map(parts_in, [first, longer, last]))
    with pytest.raises(ValueError, match="has 12 elements of 'weight', which is"):
        whole_infos(map(parts_in, [first, far]))
