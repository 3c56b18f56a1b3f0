"""A checkpoint as one file, in the form of Stanford CS336, assignment 1."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from torch.nn import Module
from torch.optim import Optimizer

from . import state
from .checkpoint_directory import check_step, under
from .checkpoint_json import VERSION, CheckpointError, CheckpointVersionError
from .files import atomic_file, open_regular
from .strict_json import Json, dump, parse_object
from .tensor_file import Buffer, build_header, encode, infos_of, read_header, read_tensors

_CHUNK_BYTES = 2**20


def save_checkpoint(
    model: Module, optimizer: Optimizer, iteration: int, out: str | os.PathLike[str] | BinaryIO
) -> None:
    """Write model, optimizer and iteration as one safetensors file (Stanford CS336, assignment 1).

    For any torch model and optimizer whose state is tensors and plain numbers. A run uses `Checkpoints`,
    which also knows about time, random generators and what to do when one is damaged.

    Args:
        model: Its state_dict is saved.
        optimizer: Likewise.
        iteration: Number of updates done.
        out: A path, written atomically, or a binary file open for writing.

    Raises:
        TypeError: If the iteration is no whole number, the state holds what can't be saved, or `out` is
            neither a path nor a file.
        ValueError: If the iteration is negative, or the path is that of a device or a pipe.
        OSError: If the disk is full; a path then names what it named before.

    Example:
        >>> import io, torch
        >>> model = torch.nn.Linear(2, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> file = io.BytesIO()
        >>> save_checkpoint(model, optimizer, 400, file)
        >>> load_checkpoint(io.BytesIO(file.getvalue()), model, optimizer)
        400
    """
    iteration = check_step("iteration", iteration)
    _check_file("out", out, "write")
    weights, aliases = state.model_tensors(model)
    moments, rest = state.optimizer_tensors(optimizer)
    tensors = {f"model.{name}": t for name, t in weights.items()}
    tensors |= {f"optimizer.{name}": t for name, t in moments.items()}
    described: Json = {"version": VERSION, "iteration": iteration, "aliases": aliases, "optimizer": rest}
    metadata = {"hornbook": dump(described).decode()}
    pieces = encode(tensors, metadata)
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    # The digest is of the file without the digest, and stands in its header.
    pieces[0] = build_header(infos_of(tensors), metadata | {"sha256": digest.hexdigest()}).raw
    if isinstance(out, str | os.PathLike):
        with atomic_file(Path(out), needed_bytes=sum(map(len, pieces))) as file:
            file.writelines(pieces)
    else:
        for piece in pieces:
            _write_all(out, piece)


def load_checkpoint(src: str | os.PathLike[str] | BinaryIO, model: Module, optimizer: Optimizer) -> int:
    """Read what `save_checkpoint` wrote into a model and an optimizer of the same shapes.

    Nothing is changed before all of it has been read and its SHA-256 compared.

    Args:
        src: A path, or a binary file open for reading, which is left behind the last byte.
        model: Gets the weights.
        optimizer: Gets its state.

    Returns:
        The iteration it was saved at.

    Raises:
        CheckpointError: If it is not such a file (a pickle is one stranger of many), or was changed.
        CheckpointVersionError: If it is whole and of another version.
        ValueError: If it is whole and of another model or optimizer; both sides are named.
        TypeError: If `src` is neither a path nor a file.
    """
    _check_file("src", src, "read")
    if not isinstance(src, str | os.PathLike):
        return _load(src, str(src), model, optimizer)
    try:
        opened = open_regular(Path(src))
    except ValueError as error:  # a directory, a pipe
        msg = f"{src} {error}"
        raise CheckpointError(msg) from error
    with opened as file:
        return _load(file, str(src), model, optimizer)


def _write_all(file: BinaryIO, piece: Buffer) -> None:
    """Write until all is written: a file without a buffer takes what it can, and says how much that was."""
    view = memoryview(piece)
    while view:
        count = file.write(view)
        view = view[len(view) if count is None else count :]


def _check_file(name: str, file: object, method: str) -> None:
    if not isinstance(file, str | os.PathLike) and not hasattr(file, method):
        msg = f"{name} must be a path or a binary file, got {file!r}"
        raise TypeError(msg)


def _load(file: BinaryIO, name: str, model: Module, optimizer: Optimizer) -> int:
    try:
        header = read_header(file)
        sha256 = header.metadata.pop("sha256", None)
        described = parse_object(header.metadata["hornbook"].encode())
        iteration, aliases, rest = described["iteration"], described["aliases"], described["optimizer"]
        version = described["version"]
        check_step("iteration", iteration)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else "lacks what hornbook writes"
        msg = f"{name} is not a checkpoint of hornbook: it {reason}"
        raise CheckpointError(msg) from error
    refused: ValueError | None = None
    try:
        if version != VERSION:
            raise CheckpointVersionError(name, version)
        state.check_model_tensors(model, under("model.", header.tensors), aliases)
        state.check_parameter_groups(optimizer, rest)
    except CheckpointVersionError as error:
        refused = error
    except (AttributeError, TypeError, ValueError) as error:
        refused = ValueError(f"{name}: {error}")
    digest = hashlib.sha256(build_header(header.tensors, header.metadata).raw)
    tensors = {}
    try:
        if refused is None:
            tensors = read_tensors(file, header, digest.update)
        else:  # it may be the header that was changed: no room is made for what it says
            left = header.num_bytes - len(header.raw)
            while piece := file.read(min(left, _CHUNK_BYTES)):
                digest.update(piece)
                left -= len(piece)
        again = build_header(header.tensors, header.metadata | {"sha256": sha256})
        if digest.hexdigest() != sha256 or again.raw != header.raw:
            msg = "has changed since it was written (its SHA-256 differs)"
            raise ValueError(msg)
    except ValueError as error:
        msg = f"{name} {error}"
        raise CheckpointError(msg) from error
    if refused is not None:
        raise refused
    state.load_model_tensors(model, under("model.", tensors), aliases)
    state.load_optimizer_tensors(optimizer, under("optimizer.", tensors), rest)
    return int(iteration)
