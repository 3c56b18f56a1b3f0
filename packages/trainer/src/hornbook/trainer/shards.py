"""Tensors that are cut over several processes (DTensors, as FSDP makes them), in files: each writes its own.

    shard-00001-of-00004.safetensors     of rank 0, and so on

The header of each says where in the whole tensor each of its parts begins. So any number of processes can
read them, each what it needs, and so can one. The form is that of torch.distributed.checkpoint with Hugging
Face's files, whose reader reads ours. Its own code is not used here: the form it is known for keeps its index
in a pickle, and to read one is to run code from a file; and neither form hashes what it writes and reads.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .hashed_write import Buffer
from .strict_json import Json, dump, parse_object
from .tensor_file import Header, TensorInfo, encode

_METADATA, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"


class Region(NamedTuple):
    """A box in a tensor."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


Like = Callable[[str, str, tuple[int, ...]], Tensor | None]
"""Of a saved tensor (kind, name, shape of the whole): the cut one that it is read for, or None."""


def shard_names(total: int) -> tuple[str, ...]:
    """Return the names of the files of so many processes, by rank."""
    return tuple(f"shard-{number:05d}-of-{total:05d}.safetensors" for number in range(1, total + 1))


def is_cut(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor."""
    # What has them takes long to import: where one is, that has been done.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def here(tensor: Any) -> Tensor:
    """Return what of a tensor is in this process; the two share memory."""
    local: Tensor = tensor.to_local() if is_cut(tensor) else tensor
    return local


def region_here(tensor: Any) -> Region:
    """Return where in the whole tensor that part lies."""
    if not is_cut(tensor):
        return Region((0,) * tensor.ndim, tuple(tensor.shape))
    (chunk,) = tensor.__create_chunk_list__()
    return Region(tuple(chunk.offsets), tuple(chunk.sizes))


def joined(part: Tensor, like: Any) -> Tensor:
    """Return the tensor, cut as `like` is, of which this process has this part."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part.to(like.device),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def cut_tensors(model: Module, optimizer: Optimizer) -> Like:
    """Tell for each saved tensor which one of a model and an optimizer it is read for, if that is cut.

    A parameter's moments are cut as it is; so is an extra tensor of its shape whose name ends with its own
    after a first part, such as `average.layers.0.weight`.
    """
    weights = model.state_dict()
    params = [param for group in optimizer.param_groups for param in group["params"]]
    by_number = {str(number): param for number, param in enumerate(params)}

    def like(kind: str, name: str, shape: tuple[int, ...]) -> Tensor | None:
        first, _, rest = name.partition(".")
        found = None
        if kind == "model":
            found = weights.get(name)
        elif kind == "extra":
            found = weights.get(rest)
        elif first == "optimizer":
            found = by_number.get(rest.partition(".")[0])
        return found if found is not None and is_cut(found) and tuple(found.shape) == shape else None

    return like


class Shard(NamedTuple):
    """What one process writes of tensors: its parts of the cut ones, the others, and where each begins."""

    parts: Mapping[str, Tensor]
    offsets: Mapping[str, Sequence[int]]


def shard_of(tensors: Mapping[str, Tensor]) -> Shard:
    """Return what is in this process; it shares memory with the tensors."""
    parts = {name: here(tensor) for name, tensor in tensors.items()}
    parts = {name: part for name, part in parts.items() if part.numel() or not is_cut(tensors[name])}
    return Shard(parts, {name: region_here(tensors[name]).offsets for name in parts})


def encode_shard(shard: Shard) -> list[Buffer]:
    """Return the bytes of this process's file."""
    described: Json = {name: {_OFFSETS: list(offsets)} for name, offsets in shard.offsets.items()}
    return encode(shard.parts, {_METADATA: dump(described).decode()})


def whole_infos(headers: Iterable[Header]) -> dict[str, TensorInfo]:
    """Return what the tensors are whose parts lie in files with these headers.

    Raises:
        ValueError: If the parts of one don't make up a tensor.
    """
    infos: dict[str, TensorInfo] = {}
    numbers: dict[str, int] = {}  # of elements
    for header in headers:
        for name, region in regions_in(header):
            dtype = header.tensors[name].dtype
            end = tuple(offset + size for offset, size in zip(*region, strict=True))
            known = infos.setdefault(name, TensorInfo(dtype, end))
            if known.dtype != dtype or len(known.shape) != len(end):
                msg = f"has parts of {name!r} that are {dtype} of shape {region.sizes} and {known}"
                raise ValueError(msg)
            infos[name] = TensorInfo(dtype, tuple(map(max, known.shape, end)))
            numbers[name] = numbers.get(name, 0) + math.prod(region.sizes)
    for name, info in infos.items():
        if numbers[name] != math.prod(info.shape):
            msg = f"has {numbers[name]:,} elements of {name!r}, which is {info}"
            raise ValueError(msg)
    return infos


def regions_in(header: Header) -> Iterator[tuple[str, Region]]:
    """Yield the parts in a file and where in the whole each lies.

    Raises:
        ValueError: If the header doesn't say it.
    """
    raw = header.metadata.get(_METADATA)
    if not isinstance(raw, str):
        msg = "doesn't say where its parts belong"
        raise ValueError(msg)
    described = parse_object(raw.encode())
    for name, info in header.tensors.items():
        try:
            offsets = tuple(described[name][_OFFSETS])
            fits = len(offsets) == len(info.shape) and all(type(o) is int and 0 <= o < 2**60 for o in offsets)
        except (KeyError, TypeError):
            fits = False
        if not fits:
            msg = f"doesn't say where its part of {name!r} belongs"
            raise ValueError(msg)
        yield name, Region(offsets, info.shape)


def copy_overlap(source: Tensor, source_region: Region, target: Tensor, target_region: Region) -> None:
    """Copy what two parts of one tensor have in common."""
    places = []
    for begin, size, target_begin, target_size in zip(*source_region, *target_region, strict=True):
        first = max(begin, target_begin)
        end = min(begin + size, target_begin + target_size)
        if end <= first:
            return
        places.append((slice(first - begin, end - begin), slice(first - target_begin, end - target_begin)))
    target[tuple(place for _, place in places)] = source[tuple(place for place, _ in places)]


def part_of(tensor: Tensor, like: Tensor | None) -> Tensor:
    """Return of a whole tensor the part that belongs to this process; all of it, if `like` is None."""
    if like is None:
        return tensor
    region = region_here(like)
    place = tuple(slice(begin, begin + size) for begin, size in zip(*region, strict=True))
    return tensor[place].clone()


def empty_parts(
    infos: Mapping[str, TensorInfo], like: Callable[[str, tuple[int, ...]], Tensor | None]
) -> dict[str, tuple[Tensor, Region]]:
    """Return memory of the host for each tensor, or for its part here, and which part that is."""
    parts = {}
    for name, info in infos.items():
        target = like(name, info.shape)
        region = Region((0,) * len(info.shape), info.shape) if target is None else region_here(target)
        parts[name] = (torch.zeros(region.sizes, dtype=info.dtype), region)
    return parts
