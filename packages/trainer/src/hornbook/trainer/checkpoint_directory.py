"""One checkpoint: a directory that is whole, verified, or not used. Safetensors and JSON; no pickle is read.

    step-00000400/
        model.safetensors      the weights, tied ones once
        training.safetensors   optimizer state and random generators
        extra.safetensors      tensors that the loop adds, such as averaged weights
        state.json             step, time, configuration, and what is not a tensor
        manifest.json          size and SHA-256 of the four

Many processes that have a model in shards write `shard-00001-of-00004.safetensors` and so on in place of the
first three, see `shards.py`; whoever reads puts them together.

Safetensors checks its header, not its payload: a flipped bit would load in silence. The manifest finds it.
Every byte is hashed as it is loaded, and nothing is given to the model before all of it has been.
"""

import hashlib
import operator
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from . import shards, state
from .checkpoint_json import (
    KINDS,
    MANIFEST,
    STATE,
    VERSION,
    WHOLE,
    CheckpointVersionError,
    check_digest,
    damage_named,
    other_version,
    parse_manifest,
    parse_state,
    read_small,
)
from .files import atomic_directory, open_regular
from .hashed_write import Buffer, write_hashed
from .strict_json import Json, dump
from .tensor_file import Header, TensorInfo, encode, read_header, read_tensors
from .weight_average import averages_in

T = TypeVar("T")

_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a restored run stands."""

    step: int
    wallclock_seconds: float
    path: Path
    extra_tensors: Mapping[str, Tensor] = field(default_factory=dict)  # as they were given to `save`
    extra: Json = field(default_factory=dict)
    metric: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that a checkpoint holds."""

    model: Mapping[str, Tensor]
    training: Mapping[str, Tensor]
    extra: Mapping[str, Tensor]
    state: bytes

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors, which is nearly those of the directory."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by kind and name, as in shards."""
        kinds = zip(KINDS, (self.model, self.training, self.extra), strict=True)
        return {f"{kind}.{name}": tensor for kind, tensors in kinds for name, tensor in tensors.items()}


def step_of(path: Path) -> int | None:
    """Return the step that a directory has in its name as a checkpoint of a run, None if it has no such name.

    Example:
        >>> step_of(Path("checkpoints/step-00000400")), step_of(Path("checkpoints/latest"))
        (400, None)
    """
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def check_step(name: str, step: Any) -> int:
    """Return the number of updates, which may be one of numpy's; refuse what is none before it is written.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is negative.
    """
    try:
        number = operator.index(step)
    except TypeError:
        number = None
    if number is None or isinstance(step, bool):
        msg = f"{name} must be a whole number, got {step!r}"
        raise TypeError(msg)
    if number < 0:
        msg = f"{name} must be at least 0, got {step}"
        raise ValueError(msg)
    return number


def contents_of(
    model: Module, optimizer: Optimizer, extra: Mapping[str, Tensor], described: Json
) -> Contents:
    """Gather what a checkpoint of a model and an optimizer holds.

    Only an update changes the tensors that are not copied: parameters, the optimizer's state, extra ones.

    Args:
        model: What is trained.
        optimizer: What trains it.
        extra: More tensors.
        described: What `state.json` says beside what is needed to load them.
    """
    weights, aliases = state.model_tensors(model)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name in weights.keys() - parameters:  # a pass may change them, such as the means of BatchNorm
        weights[name] = weights[name].clone()
    moments, rest = state.optimizer_tensors(optimizer)
    training = {f"optimizer.{name}": tensor for name, tensor in moments.items()}
    training |= {f"random.{name}": tensor for name, tensor in state.random_tensors().items()}
    return Contents(
        model=weights,
        training=training,
        extra={name: tensor.detach() for name, tensor in extra.items()},
        state=dump({"version": VERSION, **described, "aliases": aliases, "optimizer": rest}, indent=1),
    )


def write_checkpoint(path: Path, contents: Contents) -> None:
    """Write a checkpoint, which has its name only when every byte of it is on the disk.

    Raises:
        OSError: If the disk is full; the message names the path and the bytes needed.
    """
    encoded = [encode(tensors) for tensors in (contents.model, contents.training, contents.extra)]
    files: dict[str, list[Buffer]] = {**dict(zip(WHOLE, encoded, strict=True)), STATE: [contents.state]}
    with atomic_directory(path, needed_bytes=contents.num_bytes, replace=True) as aside:
        write_manifest(aside, write_files(aside, files))


def write_files(aside: Path, files: Mapping[str, list[Buffer]]) -> Json:
    """Write files of a checkpoint and return what its manifest says of them."""
    records = write_hashed({aside / name: buffers for name, buffers in files.items()})
    described: Json = {}
    for name, buffers in files.items():
        record = records[aside / name]
        described[name] = {"bytes": record.num_bytes, "sha256": record.sha256}
        if name != STATE:
            described[name]["header_sha256"] = hashlib.sha256(buffers[0]).hexdigest()
    return described


def write_manifest(aside: Path, described: Json) -> None:
    """Write the manifest of a checkpoint, its last file."""
    write_hashed({aside / MANIFEST: [dump({"version": VERSION, **described}, indent=1)]})


class SavedCheckpoint:
    """A checkpoint on the disk; all but the tensors is verified at once, and they are when they are read.

    Raises:
        CheckpointError: Naming the first file that is missing, cut or changed.
        CheckpointVersionError: If it is of another version, and not only its manifest says so.
        PermissionError: If a file may not be read, which is no damage.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with damage_named(path / MANIFEST):
            if path.is_symlink():
                msg = "is in a symbolic link: checkpoints are directories of the run itself"
                raise ValueError(msg)
            raw = read_small(path / MANIFEST)
            if (version := other_version(path, raw)) is not None:
                raise CheckpointVersionError(path / MANIFEST, version)
            self._manifest = parse_manifest(raw)
        self.tensor_files = tuple(name for name in self._manifest if name.endswith(".safetensors"))
        self._in_shards = self.tensor_files != WHOLE
        self._parts: dict[str, dict[str, shards.Part]] = {}
        for name in (*self.tensor_files, STATE):
            with damage_named(path / name), open_regular(path / name) as file:
                size, written = os.fstat(file.fileno()).st_size, self._manifest[name]["bytes"]
                if size != written:
                    msg = f"has {size:,} bytes, {written:,} were written"
                    raise ValueError(msg)
                if name != STATE:
                    header = self._header(name, file)
                    parts = shards.parts_in(header) if self._in_shards else _whole_parts(name, header)
                    self._parts[name] = parts
        with damage_named(path / STATE):
            raw = read_small(path / STATE)
            check_digest(hashlib.sha256(raw).hexdigest(), self._manifest[STATE]["sha256"])
            self.state = parse_state(raw)
            if step_of(path) not in (None, self.state["step"]):
                msg = f"is of step {self.state['step']}, unlike the name of its directory: is it a copy?"
                raise ValueError(msg)
        with damage_named(path):
            self._infos = shards.whole_infos(self._parts.values())

    def infos(self, kind: str) -> dict[str, TensorInfo]:
        """Return what the tensors of a kind are: "model", "training" or "extra"."""
        return under(f"{kind}.", self._infos)

    def read(self, *kinds: str, like: shards.Like = lambda *_: None) -> list[dict[str, Tensor]]:
        """Load the tensors of these kinds; what is returned is what was hashed.

        Args:
            kinds: "model", "training", "extra".
            like: Tells of each tensor for which cut one it is read: then it is cut as that one is, and only
                the part that is in this process is kept.
        """

        def like_of(name: str, shape: tuple[int, ...]) -> Tensor | None:
            kind, _, rest = name.partition(".")
            return like(kind, rest, shape)

        wanted = {name: info for name, info in self._infos.items() if name.partition(".")[0] in kinds}
        files = self.tensor_files if self._in_shards else tuple(f"{kind}.safetensors" for kind in kinds)
        targets = {name: like_of(name, info.shape) for name, info in wanted.items()}
        whole: dict[str, Tensor] = {}
        if not self._in_shards and all(target is None for target in targets.values()):
            for name in files:
                whole |= self._read_file(name)
        else:
            whole = {name: shards.room_for(info, targets[name]) for name, info in wanted.items()}
            assembly = shards.Assembly(whole, {name: self._parts[name] for name in files})
            for name in files:
                assembly.add(name, self._read_file(name))
        return [under(f"{kind}.", whole) for kind in kinds]

    def _read_file(self, name: str) -> dict[str, Tensor]:
        with damage_named(self.path / name), open_regular(self.path / name) as file:
            header = self._header(name, file)
            digest = hashlib.sha256(header.raw)
            tensors = read_tensors(file, header, digest.update)
            check_digest(digest.hexdigest(), self._manifest[name]["sha256"])
        return dict(zip(self._parts[name], tensors.values(), strict=True))

    def _header(self, name: str, file: BinaryIO) -> Header:
        header = read_header(file)
        check_digest(hashlib.sha256(header.raw).hexdigest(), self._manifest[name]["header_sha256"])
        if header.num_bytes != self._manifest[name]["bytes"]:
            msg = f"describes {header.num_bytes:,} bytes, {self._manifest[name]['bytes']:,} were written"
            raise ValueError(msg)
        return header

    def restored(self, extra_tensors: Mapping[str, Tensor]) -> Restored:
        """Where a run that is restored from it stands."""
        return Restored(
            step=self.state["step"],
            wallclock_seconds=self.state["wallclock_seconds"],
            path=self.path,
            extra_tensors=extra_tensors,
            extra=self.state["extra"],
            metric=self.state["metric"],
        )


def _whole_parts(name: str, header: Header) -> dict[str, shards.Part]:
    kind = name.removesuffix(".safetensors")
    return {f"{kind}.{t}": shards.Part(info, (0,) * len(info.shape)) for t, info in header.tensors.items()}


def verify_checkpoint(path: Path) -> None:
    """Compare every byte of a checkpoint with its manifest.

    Raises:
        CheckpointError: Naming the first file that is missing, cut or changed.
        CheckpointVersionError: If it is of another version.
    """
    saved = SavedCheckpoint(path)
    for name in saved.tensor_files:
        with damage_named(path / name), open_regular(path / name) as file:
            check_digest(hashlib.file_digest(file, "sha256").hexdigest(), saved._manifest[name]["sha256"])


def restore_checkpoint(path: Path, model: Module, optimizer: Optimizer) -> Restored:
    """Verify one checkpoint and load it into the model, the optimizer and the random generators.

    Nothing is changed before all of it has been read and verified.

    Raises:
        CheckpointError: If it is damaged.
        CheckpointVersionError: If it is of another version.
        ValueError: If it is whole but of another model or optimizer; both sides are named.
    """
    saved = SavedCheckpoint(path)
    state.check_parameter_groups(optimizer, saved.state["optimizer"])
    state.check_model_tensors(model, saved.infos("model"), saved.state["aliases"])
    weights, training, extra = saved.read(*KINDS, like=shards.cut_tensors(model, optimizer))
    state.load_model_tensors(model, weights, saved.state["aliases"])
    state.load_optimizer_tensors(optimizer, under("optimizer.", training), saved.state["optimizer"])
    state.load_random_tensors(under("random.", training))
    return saved.restored(extra)


def load_weights(path: Path, model: Module) -> Restored:
    """Verify one checkpoint and load its weights alone: their average, if the run keeps one.

    Raises:
        CheckpointError: If it is damaged.
        CheckpointVersionError: If it is of another version.
        ValueError: If it is whole but of another model.
    """
    saved = SavedCheckpoint(path)
    state.check_model_tensors(model, saved.infos("model"), saved.state["aliases"])
    weights, extra = saved.read("model", "extra")
    # Buffers and frozen parameters are in the model's tensors alone.
    state.load_model_tensors(model, weights | averages_in(extra), saved.state["aliases"])
    return saved.restored(extra)


def under(prefix: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the values whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
