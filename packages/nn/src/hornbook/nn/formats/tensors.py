"""Tensors in safetensors files: what they are is known from the header alone, before one is read."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Shape = tuple[int, ...]

DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file, as the header describes it."""

    path: Path
    name: str
    shape: Shape
    dtype: torch.dtype
    file: Any

    def read(self, dtype: torch.dtype) -> Tensor:
        """Read the values.

        Raises:
            ValueError: If one is NaN or infinite, or is not finite in `dtype` any more.
        """
        return check_finite(f"{self.path}: {self.name}", self.file.get_tensor(self.name), dtype)


def check_finite(what: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values in `dtype`.

    Raises:
        ValueError: If one of them is not finite there: the tensor, its first such value and the place are
            named.
    """
    cast = values.to(dtype)
    # A NaN is both bounds of the values it is among: one pass, 5 times as fast as isfinite().all().
    if all(bound.isfinite() for bound in cast.aminmax()):
        return cast
    place = tuple((~cast.isfinite()).nonzero()[0].tolist())
    given = values[place].item()
    if values[place].isfinite():
        msg = f"{what}{list(place)} is {given:g}, too large for {dtype}: choose a dtype of more range"
    else:
        msg = f"{what}{list(place)} is {given}: such weights compute nothing, take those of an earlier step"
    raise ValueError(msg)


@contextmanager
def open_tensors(*paths: Path) -> Iterator[dict[str, StoredTensor]]:
    """Open safetensors files; only their headers are read.

    Raises:
        ValueError: If one is not whole, holds anything but floating point numbers, or a name is in two.
    """
    found: dict[str, StoredTensor] = {}
    with ExitStack() as stack:
        for path in paths:
            # The header's length, its JSON, and that the tensors fill the file are checked in there.
            try:
                file = stack.enter_context(safe_open(path, "pt"))
            except SafetensorError as error:
                msg = (
                    f"{path}, {path.stat().st_size} bytes, is not a whole safetensors file: {error}; copy or"
                    " save it again"
                )
                raise ValueError(msg) from None
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                described = file.get_slice(name)
                if (dtype := DTYPES.get(described.get_dtype())) is None:
                    msg = (
                        f"{path}: {name} must be one of {', '.join(DTYPES)}, got {described.get_dtype()}:"
                        " quantized weights are not read, take the model in half or full precision"
                    )
                    raise ValueError(msg)
                if name in found:
                    msg = f"{name} is both in {found[name].path} and in {path}"
                    raise ValueError(msg)
                found[name] = StoredTensor(path, name, tuple(described.get_shape()), dtype, file)
        yield found


def check_tensors(
    expected: Iterable[tuple[str, Shape]], found: Mapping[str, StoredTensor], where: Path
) -> None:
    """Compare what is stored with what a config asks for, before anything is allocated.

    Args:
        expected: Names and shapes; may be endless, it is read only as far as tensors are found.
        found: What the headers say.
        where: What the tensors were found in, for the message.

    Raises:
        ValueError: Naming the first tensor that is missing, of another shape, or left over.
    """
    known = set()
    for name, shape in expected:
        known.add(name)
        if name not in found:
            msg = f"{where} has no tensor {name}, which config.json asks for with shape {list(shape)}"
        elif found[name].shape != shape:
            msg = (
                f"{found[name].path}: {name} has shape {list(found[name].shape)}, config.json asks for"
                f" {list(shape)}"
            )
        else:
            continue
        msg += ": weights and config.json are of different models, copy both from one"
        raise ValueError(msg)
    for name, tensor in found.items():
        if name not in known:
            msg = f"{tensor.path}: {name} has no place in the model that config.json describes"
            raise ValueError(msg)


def common_dtype(found: Mapping[str, StoredTensor]) -> torch.dtype:
    """Return the dtype of all the tensors.

    Raises:
        ValueError: If they differ; two are named.
    """
    first = next(iter(found.values()))
    for tensor in found.values():
        if tensor.dtype != first.dtype:
            msg = (
                f"{first.path.parent}: {first.name} is {first.dtype}, {tensor.name} is {tensor.dtype}: say"
                " which dtype the model shall have"
            )
            raise ValueError(msg)
    return first.dtype


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file with the mark "pt", which transformers asks for.

    Raises:
        OSError: If the disk is full or can't be written.
    """
    # safetensors puts a file of its own in this one's place, which nobody but its owner could read.
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
        path.chmod(mode)
    except SafetensorError as error:
        needed = sum(tensor.nbytes for tensor in tensors.values())
        msg = f"{path} can't be written, {needed:,} bytes needed: {error}"
        raise OSError(msg) from error
