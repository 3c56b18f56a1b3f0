"""Tensors that are cut over several processes (DTensors, as FSDP makes them), in files: each writes its own.

    shard-00001-of-00004.safetensors     of rank 0, and so on

The header of each says where in the whole tensor each of its parts begins. So any number of processes can
read them, each what it needs, and so can one. The form is that of torch.distributed.checkpoint with Hugging
Face's files, whose reader reads ours. Its planners tell which part of a tensor a process has, and of which
parts in files another cut is made up. Its `save` and `load` are not called: between processes they send plans
and errors as pickles, every process must have part in them, and what goes wrong comes out in their wrapping.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .hashed_write import Buffer
from .strict_json import Json, dump, parse_object
from .tensor_file import Header, TensorInfo, encode

_METADATA, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"


class Part(NamedTuple):
    """A box of a tensor, as a file has it."""

    info: TensorInfo
    offsets: tuple[int, ...]


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
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(dict(tensors))
    offsets = {item.index.fqn: item.index.offset or () for item in planner.create_local_plan().items}
    parts = {name: here(tensor) for name, tensor in tensors.items()}
    parts = {name: part for name, part in parts.items() if part.numel() or not is_cut(tensors[name])}
    return Shard(parts, {name: offsets[name] for name in parts})


def encode_shard(shard: Shard) -> list[Buffer]:
    """Return the bytes of this process's file."""
    described: Json = {name: {_OFFSETS: list(offsets)} for name, offsets in shard.offsets.items()}
    return encode(shard.parts, {_METADATA: dump(described).decode()})


def parts_in(header: Header) -> dict[str, Part]:
    """Return the parts in a file and where in the whole each lies.

    Raises:
        ValueError: If the header doesn't say it.
    """
    raw = header.metadata.get(_METADATA)
    if not isinstance(raw, str):
        msg = "doesn't say where its parts belong"
        raise ValueError(msg)
    described = parse_object(raw.encode())
    parts = {}
    for name, info in header.tensors.items():
        try:
            offsets = tuple(described[name][_OFFSETS])
            fits = len(offsets) == len(info.shape) and all(type(o) is int and 0 <= o < 2**60 for o in offsets)
        except (KeyError, TypeError):
            fits = False
        if not fits:
            msg = f"doesn't say where its part of {name!r} belongs"
            raise ValueError(msg)
        parts[name] = Part(info, offsets)
    return parts


def whole_infos(files: Iterable[Mapping[str, Part]]) -> dict[str, TensorInfo]:
    """Return what the tensors are whose parts lie in files.

    Raises:
        ValueError: If the parts of one don't make up a tensor.
    """
    infos: dict[str, TensorInfo] = {}
    numbers: dict[str, int] = {}  # of elements
    places: set[tuple[str, tuple[int, ...]]] = set()
    for parts in files:
        for name, (info, offsets) in parts.items():
            if (name, offsets) in places:
                msg = f"has two parts of {name!r} that begin at {offsets}"
                raise ValueError(msg)
            places.add((name, offsets))
            end = tuple(offset + size for offset, size in zip(offsets, info.shape, strict=True))
            known = infos.setdefault(name, TensorInfo(info.dtype, end))
            if known.dtype != info.dtype or len(known.shape) != len(end):
                msg = f"has parts of {name!r} that are {info} and {known}"
                raise ValueError(msg)
            infos[name] = TensorInfo(info.dtype, tuple(map(max, known.shape, end)))
            numbers[name] = numbers.get(name, 0) + math.prod(info.shape)
    for name, info in infos.items():
        if numbers[name] != math.prod(info.shape):
            msg = f"has {numbers[name]:,} elements of {name!r}, which is {info}"
            raise ValueError(msg)
    return infos


def room_for(info: TensorInfo, like: Tensor | None) -> Tensor:
    """Return memory for a tensor: cut as `like` is, on its device, or whole on the host if it is None."""
    if like is None:
        return torch.zeros(info.shape, dtype=info.dtype)
    return torch.zeros_like(like, dtype=info.dtype, requires_grad=False)


class Assembly:
    """Tensors that are put together from parts in files, of cut ones what is in this process.

    Args:
        tensors: By name, to be filled.
        files: The parts in each, by its name.
    """

    def __init__(self, tensors: Mapping[str, Tensor], files: Mapping[str, Mapping[str, Part]]) -> None:
        from torch.distributed.checkpoint import metadata as of
        from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
        from torch.distributed.checkpoint.planner import ReadItem

        chunks: dict[str, list[of.ChunkStorageMetadata]] = {name: [] for name in tensors}
        file_of = {}
        for file, parts in files.items():
            for name in parts.keys() & tensors.keys():
                offsets, sizes = torch.Size(parts[name].offsets), torch.Size(parts[name].info.shape)
                chunks[name].append(of.ChunkStorageMetadata(offsets, sizes))
                file_of[of.MetadataIndex(name, offsets)] = file
        described: dict[str, of.STORAGE_TYPES] = {
            name: of.TensorStorageMetadata(of.TensorProperties(tensor.dtype), tensor.size(), chunks[name])
            for name, tensor in tensors.items()
        }
        self._planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._planner.set_up_planner(dict(tensors), of.Metadata(described), is_coordinator=True)
        self._items: dict[str, list[ReadItem]] = {file: [] for file in files}
        for item in self._planner.create_local_plan().items:
            self._items[file_of[item.storage_index]].append(item)

    def add(self, file: str, parts: Mapping[str, Tensor]) -> None:
        """Copy what is wanted of a file's parts."""
        for item in self._items[file]:
            box = zip(item.storage_offsets, item.lengths, strict=True)
            place = tuple(slice(begin, begin + length) for begin, length in box)
            self._planner.resolve_tensor(item).copy_(parts[item.storage_index.fqn][place])
