"""Checkpoints: a directory that is whole, verified, or not used. Safetensors and JSON; no pickle is read.

    step-00000400/
        model.safetensors      the weights, tied ones once
        training.safetensors   optimizer state and random generators
        extra.safetensors      tensors that the loop adds, such as averaged weights
        state.json             step, time, and what is not a tensor
        manifest.json          size and SHA-256 of the four

Safetensors checks its header, not its payload: a flipped bit would load in silence. The manifest finds it.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

from safetensors.torch import load, load_file, save, save_file
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from . import state
from .files import atomic_directory, atomic_file, remove_leftovers, sha256_of_file, sync_directory

logger = logging.getLogger(__name__)

_VERSION = 2
_FILES = ("model.safetensors", "training.safetensors", "extra.safetensors", "state.json")


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a restored run stands."""

    step: int
    wallclock_seconds: float
    path: Path
    extra_tensors: Mapping[str, Tensor] = field(default_factory=dict)  # as they were given to `save`
    extra: state.Json = field(default_factory=dict)
    metric: float | None = None


class CheckpointStore(Protocol):
    """Where a run is saved and found again: what the loop asks for. `Checkpoints` is one."""

    def restore(self, model: Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint that is whole; None if there is none at all."""
        ...

    def save(
        self,
        step: int,
        model: Module,
        optimizer: Optimizer,
        *,
        wallclock_seconds: float,
        extra_tensors: Mapping[str, Tensor] = ...,
        extra: Mapping[str, Any] = ...,
        metric: float | None = None,
    ) -> Path:
        """Take a checkpoint, which may reach the disk later; raise the error of the one before, if it failed.

        Args:
            step: Updates done.
            model: Its state is copied before the call returns.
            optimizer: Likewise.
            wallclock_seconds: How long the run has trained.
            extra_tensors: More tensors, such as averaged weights; given back by `restore`.
            extra: More values for JSON, such as counters; given back by `restore`.
            metric: Validation loss, less is better, None if it wasn't measured at this step.
        """
        ...

    def wait(self) -> None:
        """Return when all that was saved is on the disk; raise the error of a save that failed."""
        ...


class Checkpoints:
    """The checkpoints of one run, newest last.

    Args:
        directory: Where they stand; made when the first is saved.
        keep_last: How many to keep. The older ones are deleted once the new one is whole on the disk; two,
            so that one damaged later by the disk leaves another.

    Example:
        >>> import tempfile, torch
        >>> model = torch.nn.Linear(2, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()) / "checkpoints")
        >>> checkpoints.save(400, model, optimizer, wallclock_seconds=12.5).name
        'step-00000400'
        >>> checkpoints.restore(model, optimizer).step
        400
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep_last: int = 2) -> None:
        if keep_last < 1:
            msg = f"keep_last must be at least 1, got {keep_last}"
            raise ValueError(msg)
        self.directory = Path(directory)
        self.keep_last = keep_last

    def paths(self) -> list[Path]:
        """Return the checkpoints on disk, oldest first, verified or not."""
        found = [p for p in self.directory.glob("step-*") if re.fullmatch(r"step-\d{8,}", p.name)]
        return sorted(found, key=lambda path: int(path.name[5:]))

    def save(
        self,
        step: int,
        model: Module,
        optimizer: Optimizer,
        *,
        wallclock_seconds: float,
        extra_tensors: Mapping[str, Tensor] = MappingProxyType({}),
        extra: Mapping[str, Any] = MappingProxyType({}),
        metric: float | None = None,
    ) -> Path:
        """Write a checkpoint; it has its name only when every byte of it is on the disk.

        Args:
            step: Updates done.
            model: What is trained.
            optimizer: What trains it.
            wallclock_seconds: How long the run has trained.
            extra_tensors: More tensors, such as averaged weights; `Restored` has them again.
            extra: More values for JSON, such as counters; `Restored` has them again.
            metric: Validation loss, less is better; None if it wasn't measured at this step.

        Raises:
            OSError: If the disk is full; the message names the path and the bytes needed. The checkpoints
                before this one stay as they are.
        """
        path = self.directory / f"step-{step:08d}"
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.directory)
        if path.exists():  # a damaged one that a resumed run has passed again
            shutil.rmtree(path)
        weights, aliases = state.model_tensors(model)
        moments, rest = state.optimizer_tensors(optimizer)
        training = {f"optimizer.{name}": tensor for name, tensor in moments.items()}
        training |= {f"random.{name}": tensor for name, tensor in state.random_tensors().items()}
        described = {
            "version": _VERSION,
            "step": step,
            "wallclock_seconds": wallclock_seconds,
            "aliases": aliases,
            "optimizer": rest,
            "extra": dict(extra),
            "metric": metric,
        }
        more = {name: tensor.detach().cpu().contiguous() for name, tensor in extra_tensors.items()}
        needed = sum(t.nbytes for t in (*weights.values(), *training.values(), *more.values()))
        with atomic_directory(path, needed_bytes=needed) as aside:
            save_file(weights, aside / "model.safetensors")
            save_file(training, aside / "training.safetensors")
            save_file(more, aside / "extra.safetensors")
            (aside / "state.json").write_text(json.dumps(described, indent=1, allow_nan=False))
            manifest = {
                name: {"bytes": (aside / name).stat().st_size, "sha256": sha256_of_file(aside / name)}
                for name in _FILES
            }
            (aside / "manifest.json").write_text(json.dumps(manifest, indent=1))
        for old in self.paths()[: -self.keep_last]:
            shutil.rmtree(old)
        sync_directory(self.directory)
        logger.info("checkpoint at step %d: %s (%d bytes of tensors)", step, path, needed)
        return path

    def wait(self) -> None:
        """Return when all that was saved is on the disk, which `save` itself sees to."""

    def restore(self, model: Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint that verifies; None if there is none at all.

        A damaged one is named in a warning and the one before it is used.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole.
        """
        return self._newest(lambda path: restore_checkpoint(path, model, optimizer))

    def restore_weights(self, model: Module) -> Restored | None:
        """Load the weights alone of the newest checkpoint that verifies, as for generation; like `restore`.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole.
        """
        return self._newest(lambda path: load_weights(path, model))

    def _newest(self, load_from: Callable[[Path], Restored]) -> Restored | None:
        reasons = []
        for path in reversed(self.paths()):
            try:
                return load_from(path)
            except CheckpointError as error:
                logger.warning("checkpoint not used: %s", error)
                reasons.append(str(error))
        if reasons:
            msg = f"no checkpoint in {self.directory} is whole: {'; '.join(reasons)}. Delete it to start anew"
            raise CheckpointError(msg)
        return None


def verify_checkpoint(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        CheckpointError: Naming the first file that is missing, cut or changed.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        # The names come from here, never from the manifest: it can't point elsewhere.
        recorded = {name: (manifest[name]["bytes"], manifest[name]["sha256"]) for name in _FILES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path / 'manifest.json'} can't be read: {error!r}"
        raise CheckpointError(msg) from error
    for name, (size, digest) in recorded.items():
        file = path / name
        if not file.is_file():
            msg = f"{file} is missing"
        elif file.stat().st_size != size:
            msg = f"{file} has {file.stat().st_size} bytes, {size} were written"
        elif sha256_of_file(file) != digest:
            msg = f"{file} has changed since it was written (its SHA-256 differs)"
        else:
            continue
        raise CheckpointError(msg)


def restore_checkpoint(path: Path, model: Module, optimizer: Optimizer) -> Restored:
    """Verify one checkpoint and load it into the model, the optimizer and torch's random generators.

    Raises:
        CheckpointError: If it is damaged or of another version.
        ValueError: If it is whole but of another model or optimizer; both sides are named.
    """
    described = _verified_state(path)
    training = load_file(path / "training.safetensors")
    state.load_model_tensors(model, load_file(path / "model.safetensors"), described["aliases"])
    state.load_optimizer_tensors(optimizer, _under("optimizer.", training), described["optimizer"])
    state.load_random_tensors(_under("random.", training))
    return _restored(path, described)


def load_weights(path: Path, model: Module) -> Restored:
    """Verify one checkpoint and load its weights alone.

    Raises:
        CheckpointError: If it is damaged or of another version.
        ValueError: If it is whole but of another model.
    """
    described = _verified_state(path)
    state.load_model_tensors(model, load_file(path / "model.safetensors"), described["aliases"])
    return _restored(path, described)


def _restored(path: Path, described: state.Json) -> Restored:
    return Restored(
        described["step"],
        described["wallclock_seconds"],
        path,
        load_file(path / "extra.safetensors"),
        described["extra"],
        described["metric"],
    )


def _verified_state(path: Path) -> state.Json:
    verify_checkpoint(path)
    described: state.Json = json.loads((path / "state.json").read_bytes())
    if described.get("version") != _VERSION:
        msg = f"{path} has version {described.get('version')!r}, this hornbook reads version {_VERSION}"
        raise CheckpointError(msg)
    return described


def save_checkpoint(
    model: Module, optimizer: Optimizer, iteration: int, out: str | os.PathLike[str] | BinaryIO
) -> None:
    """Write model, optimizer and iteration as one safetensors file (Stanford CS336, assignment 1).

    For any torch model and optimizer whose state is tensors and plain numbers. A run uses `Checkpoints`,
    which also knows about time, random generators and damage.

    Args:
        model: Its state_dict is saved.
        optimizer: Likewise.
        iteration: Number of updates done.
        out: A path, written atomically, or a binary file open for writing.
    """
    weights, aliases = state.model_tensors(model)
    moments, rest = state.optimizer_tensors(optimizer)
    tensors = {f"model.{name}": t for name, t in weights.items()}
    tensors |= {f"optimizer.{name}": t for name, t in moments.items()}
    described = {"version": _VERSION, "iteration": iteration, "aliases": aliases, "optimizer": rest}
    raw = save(tensors, metadata={"hornbook": json.dumps(described, allow_nan=False)})
    if isinstance(out, str | os.PathLike):
        with atomic_file(Path(out), needed_bytes=len(raw)) as file:
            file.write(raw)
    else:
        out.write(raw)


def load_checkpoint(src: str | os.PathLike[str] | BinaryIO, model: Module, optimizer: Optimizer) -> int:
    """Read what `save_checkpoint` wrote into a model and an optimizer of the same shapes.

    Returns:
        The iteration it was saved at.

    Raises:
        CheckpointError: If it is not such a file; a pickle is refused like any other stranger.
        ValueError: If it is of another model or optimizer.
    """
    raw = Path(src).read_bytes() if isinstance(src, str | os.PathLike) else src.read()
    try:
        # A safetensors file: length of the header (8 bytes, little-endian), header in JSON, tensors.
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        described = json.loads(header["__metadata__"]["hornbook"])
        tensors = load(raw)
    except Exception as error:
        msg = f"{src} is not a checkpoint of hornbook: {error!r}"
        raise CheckpointError(msg) from error
    state.load_model_tensors(model, _under("model.", tensors), described["aliases"])
    state.load_optimizer_tensors(optimizer, _under("optimizer.", tensors), described["optimizer"])
    return int(described["iteration"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
