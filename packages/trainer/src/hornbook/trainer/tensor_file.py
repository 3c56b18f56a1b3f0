"""Tensors in a safetensors file, hashed while they are written and while they are read.

The format is that of the library of this name, which reads our files. It is spelled out here because the
library doesn't tell what it has written or read: to hash it would be a second reading.

    8 bytes        length of the header, little-endian
    header         JSON, spaces after it: {"name": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}, …}
    data           the tensors, one after another, no gap and no overlap
"""

import math
from collections.abc import Callable, Mapping
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from .strict_json import MOST_BYTES, Json, dump, parse_object

Buffer = bytes | memoryview

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_MOST_AXES = 64  # of torch's; the product of a million sizes would take long
_METADATA = "__metadata__"
_CHUNK_BYTES = 2**20  # read and hashed while it is still in the cache


class TensorInfo(NamedTuple):
    """What a header says of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Of the tensor."""
        return self.dtype.itemsize * math.prod(self.shape)

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} of shape {self.shape}"


class Header(NamedTuple):
    """What stands before the tensors: what they are, in the order of their bytes."""

    raw: bytes  # with its length before it
    tensors: dict[str, TensorInfo]
    metadata: Json

    @property
    def num_bytes(self) -> int:
        """Size of the whole file."""
        return len(self.raw) + sum(info.num_bytes for info in self.tensors.values())


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> list[Buffer]:
    """Return the bytes of a file, piece by piece: the header, then each tensor, uncopied if it is on the CPU.

    Raises:
        TypeError: If a tensor is of a type or layout that the format lacks.
    """
    header = build_header(infos_of(tensors), metadata or {})
    return [header.raw, *(bytes_of(tensors[name].detach().cpu().contiguous()) for name in header.tensors)]


def infos_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    """Return what a header would say of tensors.

    Raises:
        TypeError: If one is of a type or layout that the format lacks.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES or tensor.layout is not torch.strided or tensor.is_meta:
            msg = f"{name} is {tensor.dtype}, {tensor.layout}, on {tensor.device}: it can't be saved"
            raise TypeError(msg)
    return {name: TensorInfo(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def build_header(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> Header:
    """Lay tensors out one after another, the widest first, so that each begins at a multiple of its width."""
    names = sorted(infos, key=lambda name: (-infos[name].dtype.itemsize, name))
    described: Json = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        begin, end = end, end + infos[name].num_bytes
        described[name] = {
            "dtype": _NAMES[infos[name].dtype],
            "shape": list(infos[name].shape),
            "data_offsets": [begin, end],
        }
    text = dump(described)
    text += b" " * (-len(text) % 8)
    return Header(
        len(text).to_bytes(8, "little") + text, {name: infos[name] for name in names}, dict(metadata)
    )


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the CPU."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def read_header(file: BinaryIO) -> Header:
    """Read what a file holds. Nothing large is allocated, whatever it claims.

    Raises:
        ValueError: If it is not the header of a safetensors file; the message goes on where its name ends.
    """
    length = _read(file, 8)
    size = int.from_bytes(length, "little")
    if len(length) < 8 or not 2 <= size <= MOST_BYTES:
        msg = f"is no safetensors file: its header would have {size:,} bytes"
        raise ValueError(msg)
    text = _read(file, size)
    if len(text) < size:
        msg = f"ends within its header of {size:,} bytes"
        raise ValueError(msg)
    described = parse_object(text)
    metadata = described.pop(_METADATA, {})
    entries = []
    for name, entry in described.items():
        try:
            dtype, shape, (begin, end) = _TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            sizes = (*shape, begin, end)
            whole = all(type(size) is int and 0 <= size < 2**63 for size in sizes)
            whole = whole and len(shape) <= _MOST_AXES and len(entry) == 3
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole or end - begin != dtype.itemsize * math.prod(shape):
            msg = f"describes no tensor by {name!r}: {str(entry)[:200]}"
            raise ValueError(msg)
        entries.append((begin, end, name, TensorInfo(dtype, shape)))
    entries.sort(key=lambda entry: entry[:3])
    place = 0
    for begin, end, name, _ in entries:
        if begin != place:
            msg = f"has {name!r} at byte {begin:,} of its data, where {place:,} would be next"
            raise ValueError(msg)
        place = end
    return Header(length + text, {name: info for _, _, name, info in entries}, metadata)


def read_tensors(file: BinaryIO, header: Header, update: Callable[[Buffer], object]) -> dict[str, Tensor]:
    """Read the tensors that follow a header, each into memory of its own.

    Args:
        file: Stands behind the header.
        header: Of this file.
        update: Told every byte, in order; a hash's `update`.

    Raises:
        ValueError: If the file ends before.
    """
    tensors = {}
    for name, info in header.tensors.items():
        tensors[name] = torch.empty(info.shape, dtype=info.dtype)
        view = bytes_of(tensors[name])
        for begin in range(0, len(view), _CHUNK_BYTES):
            chunk = view[begin : begin + _CHUNK_BYTES]
            filled = 0
            while filled < len(chunk):
                count = _read_into(file, chunk[filled:])
                if not count:
                    msg = f"ends within {name!r}"
                    raise ValueError(msg)
                filled += count
            update(chunk)
    return tensors


def _read(file: BinaryIO, size: int) -> bytes:
    """Read so many bytes, or all that are left: a pipe without a buffer gives what there is by now."""
    pieces = []
    while size and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _read_into(file: BinaryIO, view: memoryview) -> int:
    if hasattr(file, "readinto"):
        return int(file.readinto(view) or 0)
    piece = file.read(len(view))  # a file object that knows no more than reading
    view[: len(piece)] = piece
    return len(piece)
