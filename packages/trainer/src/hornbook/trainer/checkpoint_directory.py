"""One checkpoint: a directory that is whole, verified, or not used. Safetensors and JSON; no pickle is read.

    step-00000400/
        model.safetensors      the weights, tied ones once
        training.safetensors   optimizer state and random generators
        extra.safetensors      tensors that the loop adds, such as averaged weights
        state.json             step, time, configuration, and what is not a tensor
        manifest.json          size and SHA-256 of the four

Safetensors checks its header, not its payload: a flipped bit would load in silence. The manifest finds it.
Every byte is hashed as it is loaded, and nothing is given to the model before all of it has been.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import BinaryIO

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from . import state
from .files import atomic_directory, open_regular
from .hashed_write import Buffer, write_hashed
from .strict_json import MOST_BYTES, Json, dump, parse_object
from .tensor_file import Header, encode, read_header, read_tensors

VERSION = 2
_MODEL, _TRAINING, _EXTRA = "model.safetensors", "training.safetensors", "extra.safetensors"
_TENSOR_FILES = (_MODEL, _TRAINING, _EXTRA)
_STATE, _MANIFEST = "state.json", "manifest.json"
_FILES = (*_TENSOR_FILES, _STATE)


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file and the reason."""


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
        return sum(t.nbytes for ts in (self.model, self.training, self.extra) for t in ts.values())


def contents_of(
    model: Module, optimizer: Optimizer, extra: Mapping[str, Tensor], described: Json
) -> Contents:
    """Gather what a checkpoint of a model and an optimizer holds; tensors are not copied, all else is.

    Args:
        model: What is trained.
        optimizer: What trains it.
        extra: More tensors.
        described: What `state.json` says beside what is needed to load them.
    """
    weights, aliases = state.model_tensors(model)
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
    files: dict[str, list[Buffer]] = {
        _MODEL: encode(contents.model),
        _TRAINING: encode(contents.training),
        _EXTRA: encode(contents.extra),
        _STATE: [contents.state],
    }
    with atomic_directory(path, needed_bytes=contents.num_bytes, replace=True) as aside:
        records = write_hashed({aside / name: buffers for name, buffers in files.items()})
        manifest: Json = {"version": VERSION}
        for name, buffers in files.items():
            record = records[aside / name]
            manifest[name] = {"bytes": record.num_bytes, "sha256": record.sha256}
            if name != _STATE:
                manifest[name]["header_sha256"] = hashlib.sha256(buffers[0]).hexdigest()
        write_hashed({aside / _MANIFEST: [dump(manifest, indent=1)]})


class SavedCheckpoint:
    """A checkpoint on the disk; all but the tensors is verified at once, and they are when they are read.

    Raises:
        CheckpointError: Naming the first file that is missing, cut or changed.
        PermissionError: If a file may not be read, which is no damage.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _damage_named(path / _MANIFEST):
            if path.is_symlink():
                msg = "is in a symbolic link: checkpoints are directories of the run itself"
                raise ValueError(msg)
            self._manifest = _parse_manifest(_read_small(path / _MANIFEST))
        for name in _FILES:
            with _damage_named(path / name), open_regular(path / name) as file:
                size, written = os.fstat(file.fileno()).st_size, self._manifest[name]["bytes"]
                if size != written:
                    msg = f"has {size:,} bytes, {written:,} were written"
                    raise ValueError(msg)
                if name != _STATE:
                    self._header(name, file)
        with _damage_named(path / _STATE):
            raw = _read_small(path / _STATE)
            _compare(hashlib.sha256(raw).hexdigest(), self._manifest[_STATE]["sha256"])
            self.state = _parse_state(raw)

    def read(self, name: str, check: Callable[[Header], None] = lambda _: None) -> dict[str, Tensor]:
        """Load the tensors of one file; what is returned is what was hashed.

        Args:
            name: Of the file.
            check: Raises if it has no use for such tensors, before any of them is read.
        """
        with open_regular(self.path / name) as file:
            with _damage_named(self.path / name):
                header = self._header(name, file)
            check(header)
            with _damage_named(self.path / name):
                digest = hashlib.sha256(header.raw)
                tensors = read_tensors(file, header, digest.update)
                _compare(digest.hexdigest(), self._manifest[name]["sha256"])
        return tensors

    def _header(self, name: str, file: BinaryIO) -> Header:
        header = read_header(file)
        _compare(hashlib.sha256(header.raw).hexdigest(), self._manifest[name]["header_sha256"])
        if header.num_bytes != self._manifest[name]["bytes"]:
            msg = f"describes {header.num_bytes:,} bytes, {self._manifest[name]['bytes']:,} were written"
            raise ValueError(msg)
        return header

    def restored(self) -> Restored:
        """Where a run that is restored from it stands."""
        return Restored(
            step=self.state["step"],
            wallclock_seconds=self.state["wallclock_seconds"],
            path=self.path,
            extra_tensors=self.read(_EXTRA),
            extra=self.state["extra"],
            metric=self.state["metric"],
        )


def verify_checkpoint(path: Path) -> None:
    """Compare every byte of a checkpoint with its manifest.

    Raises:
        CheckpointError: Naming the first file that is missing, cut or changed.
    """
    saved = SavedCheckpoint(path)
    for name in _TENSOR_FILES:
        with _damage_named(path / name), open_regular(path / name) as file:
            _compare(hashlib.file_digest(file, "sha256").hexdigest(), saved._manifest[name]["sha256"])


def restore_checkpoint(path: Path, model: Module, optimizer: Optimizer) -> Restored:
    """Verify one checkpoint and load it into the model, the optimizer and the random generators.

    Nothing is changed before all of it has been read and verified.

    Raises:
        CheckpointError: If it is damaged or of another version.
        ValueError: If it is whole but of another model or optimizer; both sides are named.
    """
    saved = SavedCheckpoint(path)
    state.check_parameter_groups(optimizer, saved.state["optimizer"])
    weights = saved.read(_MODEL, lambda header: _check_fit(model, saved, header))
    training = saved.read(_TRAINING)
    restored = saved.restored()
    state.load_model_tensors(model, weights, saved.state["aliases"])
    state.load_optimizer_tensors(optimizer, under("optimizer.", training), saved.state["optimizer"])
    state.load_random_tensors(under("random.", training))
    return restored


def load_weights(path: Path, model: Module) -> Restored:
    """Verify one checkpoint and load its weights alone.

    Raises:
        CheckpointError: If it is damaged or of another version.
        ValueError: If it is whole but of another model.
    """
    saved = SavedCheckpoint(path)
    weights = saved.read(_MODEL, lambda header: _check_fit(model, saved, header))
    restored = saved.restored()
    state.load_model_tensors(model, weights, saved.state["aliases"])
    return restored


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _check_fit(model: Module, saved: SavedCheckpoint, header: Header) -> None:
    state.check_model_tensors(model, header.tensors, saved.state["aliases"])


def _read_small(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(MOST_BYTES + 1)  # one more is refused by what parses it


def _parse_manifest(raw: bytes) -> Json:
    manifest = parse_object(raw)
    _check_version(manifest)
    # The names come from here, never from the manifest: it can't point elsewhere.
    if manifest.keys() != {"version", *_FILES} or dump(manifest, indent=1) != raw:
        msg = f"is not as it was written: it names {', '.join(map(repr, manifest))[:200]}"
        raise ValueError(msg)
    for name in _FILES:
        expected = {"bytes": int, "sha256": str} | ({} if name == _STATE else {"header_sha256": str})
        if {key: type(value) for key, value in manifest[name].items()} != expected:
            msg = f"says of {name} {str(manifest[name])[:200]}"
            raise ValueError(msg)
    return manifest


def _parse_state(raw: bytes) -> Json:
    described = parse_object(raw)
    _check_version(described)
    expected = {"step": int, "wallclock_seconds": float, "aliases": dict, "optimizer": dict, "run": dict}
    expected |= {"about": dict, "extra": dict}
    for key, kind in expected.items():
        if not isinstance(described.get(key), kind):
            msg = f"says {str(described.get(key))[:200]} of {key!r}, a {kind.__name__} is expected"
            raise ValueError(msg)
    if not isinstance(described["metric"], float | NoneType):
        msg = f"says {str(described['metric'])[:200]} of 'metric'"
        raise ValueError(msg)
    return described


def _check_version(described: Json) -> None:
    if described.get("version") != VERSION:
        msg = f"has version {described.get('version')!r}, this hornbook reads version {VERSION}"
        raise ValueError(msg)


def _compare(sha256: str, recorded: str) -> None:
    if sha256 != recorded:
        msg = "has changed since it was written (its SHA-256 differs)"
        raise ValueError(msg)


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file into a CheckpointError that names it."""
    try:
        yield
    except (CheckpointError, PermissionError):
        raise
    except FileNotFoundError as error:
        msg = f"{file} is missing"
        raise CheckpointError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{file} {error}"
        raise CheckpointError(msg) from error
