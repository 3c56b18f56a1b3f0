"""The checkpoints of a run: which is the newest, which are kept, and saving beside the training."""

import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .background_save import BackgroundSave
from .checkpoint_directory import (
    CheckpointError,
    Contents,
    Restored,
    SavedCheckpoint,
    contents_of,
    load_weights,
    restore_checkpoint,
    write_checkpoint,
)
from .choices import WhichCheckpoint
from .configuration import as_json, first_difference
from .files import atomic_file, open_regular, remove_directory, remove_leftovers, sync_directory
from .state import HostBuffers
from .strict_json import Json

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step-\d{8,}")
_LATEST = "latest"


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
    """The checkpoints of one run, one directory each, and `latest`, a file that names the newest.

    `latest` is a file and not a symbolic link: those need rights on Windows, and get lost on some network
    disks and in copies. It is moved when its checkpoint is whole on the disk; what is older is deleted last.

    Args:
        directory: Where they stand; made when the first is saved.
        keep_last: How many of the newest to keep; two, so that one damaged later by the disk leaves another.
        keep_best: How many of those with the least `metric` to keep beside them.
        asynchronous: Whether `save` copies the tensors to memory of its own, as much as they take, and
            returns, while a thread writes them. One that is still being written is waited for by the next
            `save`, by `wait`, by `restore`, and by the end of the process; the first three raise its error.
        run: What the run depends on, as JSON: configuration, fingerprints of data and tokenizer. Saved with
            each checkpoint; one of another run is refused.
        about: What a reader may want to know, as JSON: versions, git commit. Saved likewise.

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

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep_last: int = 2,
        keep_best: int = 0,
        asynchronous: bool = False,
        run: Mapping[str, Any] = MappingProxyType({}),
        about: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        for name, value, least in (("keep_last", keep_last, 1), ("keep_best", keep_best, 0)):
            if value < least:
                msg = f"{name} must be at least {least}, got {value}"
                raise ValueError(msg)
        self.directory = Path(directory)
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.asynchronous = asynchronous
        self.run = run
        self.about = about
        self._buffers = [HostBuffers() for _ in range(3)]
        self._saving = BackgroundSave()

    def paths(self) -> list[Path]:
        """Return the checkpoints on disk, oldest first, verified or not."""
        found = [path for path in self.directory.glob("step-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_step)

    def path_of(self, step: int) -> Path:
        """Return where the checkpoint of a step stands."""
        return self.directory / f"step-{step:08d}"

    def latest(self) -> Path | None:
        """Return the checkpoint that `latest` names, None if it names none."""
        try:
            with open_regular(self.directory / _LATEST) as file:
                name = file.read(100).decode().removesuffix("\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s not used: %s", self.directory / _LATEST, error)
            return None
        path = self.directory / name
        if not _NAME.fullmatch(name) or not path.exists():
            logger.warning("%s not used: it says %r", self.directory / _LATEST, name)
            return None
        return path

    def best(self) -> Path | None:
        """Return the checkpoint with the least metric, None if none has one; a damaged one is warned of."""
        ranked = self._by_metric(self.paths(), log=logger.warning)
        return ranked[0] if ranked else None

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

        Returns:
            Where it stands, or will.

        Raises:
            OSError: If the disk is full; the message names the path and the bytes needed. The checkpoints
                before this one stay as they are. If asynchronous, it is the save before that failed.
        """
        began = time.perf_counter()
        self.wait()
        path = self.path_of(step)
        described = self.described(step, wallclock_seconds, extra, metric)
        contents = contents_of(model, optimizer, extra_tensors, described)
        if self.asynchronous:
            tensors = (contents.model, contents.training, contents.extra)
            copies = [buffers.copy(ts) for buffers, ts in zip(self._buffers, tensors, strict=True)]
            contents = replace(contents, model=copies[0], training=copies[1], extra=copies[2])
            self._saving.begin(lambda: self._write(path, contents))
        else:
            self._write(path, contents)
        stall = time.perf_counter() - began
        logger.info("checkpoint of step %d: training stood still for %.3f seconds", step, stall)
        return path

    def wait(self) -> None:
        """Return when all that was saved is on the disk.

        Raises:
            OSError: If a save that went on in a thread has failed; its checkpoint is not there.
        """
        self._saving.wait()

    def restore(self, model: Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint that verifies, for the run that writes here; None if there is none.

        A damaged one is named in a warning and the one before it is used. What a killed save left is deleted,
        and what it would have deleted.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole.
            ValueError: If the checkpoint is whole, and of another run, model or optimizer; both are named.
        """
        self.wait()
        if self.directory.is_dir():
            remove_leftovers(self.directory)

        def load(path: Path) -> Restored:
            difference = first_difference(self.run, SavedCheckpoint(path).state["run"]) if self.run else None
            if difference is not None:
                msg = f"{path} is of a run with {difference}"
                raise ValueError(msg)
            return restore_checkpoint(path, model, optimizer)

        restored = self._newest(load)
        if restored is not None:
            latest = self.latest()
            if latest is None:
                self._name(restored.path)
            elif latest == restored.path:
                self._prune(latest)  # once more: a kill may have come between naming it and this
        return restored

    def restore_weights(self, model: Module, which: WhichCheckpoint = "latest") -> Restored | None:
        """Load the weights alone of one checkpoint, verified, as for generation; None if there is none.

        Args:
            model: What they go into.
            which: "latest", the newest that verifies, like `restore`; "best", the one with the least metric;
                or the step of one.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole, or the chosen one is not.
            ValueError: If there are checkpoints and not the one asked for, or it is of another model.
        """
        self.wait()
        steps = [_step(path) for path in self.paths()]
        if which == "latest" or not steps:
            return self._newest(lambda path: load_weights(path, model))
        path = self.best() if which == "best" else self.path_of(which)
        if path is None:
            msg = (
                f"no checkpoint in {self.directory} says how good it is: they are saved where a run "
                f"evaluates, and one is with keep_best; there are steps {steps}"
            )
            raise ValueError(msg)
        if _step(path) not in steps:
            msg = f"{self.directory} has no checkpoint of step {which}, but of steps {steps}"
            raise ValueError(msg)
        return load_weights(path, model)

    def _newest(self, load_from: Callable[[Path], Restored]) -> Restored | None:
        latest = self.latest()
        reasons = []
        # One that is newer than `latest` says was not finished, or is left of what was gone back behind.
        for path in sorted(self.paths(), key=lambda path: (path == latest, _step(path)), reverse=True):
            try:
                return load_from(path)
            except CheckpointError as error:
                logger.warning("checkpoint not used: %s", error)
                reasons.append(str(error))
        if reasons:
            msg = f"no checkpoint in {self.directory} is whole: {'; '.join(reasons)}. Delete it to start anew"
            raise CheckpointError(msg)
        return None

    def described(
        self, step: int, wallclock_seconds: float, extra: Mapping[str, Any], metric: float | None
    ) -> Json:
        """Return what a checkpoint says of a run beside its tensors."""
        return {
            "step": step,
            "wallclock_seconds": float(wallclock_seconds),
            "metric": float(metric) if metric is not None and math.isfinite(metric) else None,
            "run": as_json(self.run),
            "about": as_json(self.about),
            "extra": dict(extra),
        }

    def make_ready(self) -> None:
        """Make the directory, and remove from it what a killed save has left."""
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.directory)

    def publish(self, path: Path) -> None:
        """Let `latest` name a checkpoint that is on the disk, and delete those that are not to be kept."""
        self._name(path)
        self._prune(path)

    def _name(self, path: Path) -> None:
        with atomic_file(self.directory / _LATEST) as file:
            file.write(f"{path.name}\n".encode())

    def _write(self, path: Path, contents: Contents) -> None:
        began = time.perf_counter()
        self.make_ready()
        write_checkpoint(path, contents)
        self.publish(path)
        size, seconds = contents.num_bytes, time.perf_counter() - began
        logger.info("checkpoint on disk: %s (%d bytes of tensors in %.3f seconds)", path, size, seconds)

    def _prune(self, newest: Path) -> None:
        """Delete what is not to be kept; a checkpoint that is not whole protects no other one from that."""
        # What is ahead is damaged, or the run went on from an older one and will come there again.
        paths = [path for path in self.paths() if _step(path) <= _step(newest)]
        whole = [path for path in paths if _state_of(path) is not None]
        if newest not in whole:
            msg = f"{newest} is not as it was written a moment ago; nothing older was deleted"
            raise CheckpointError(msg)
        kept = {*whole[-self.keep_last :], *self._by_metric(whole)[: self.keep_best]}
        for path in self.paths():
            if path not in kept:
                remove_directory(path)
        sync_directory(self.directory)

    def _by_metric(self, paths: list[Path], log: Callable[..., None] = logger.debug) -> list[Path]:
        states = {path: _state_of(path, log) for path in paths}
        metrics = {path: state["metric"] for path, state in states.items() if state is not None}
        measured = [path for path, metric in metrics.items() if metric is not None]
        return sorted(measured, key=lambda path: (metrics[path], _step(path)))


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _state_of(path: Path, log: Callable[..., None] = logger.debug) -> Json | None:
    try:
        return SavedCheckpoint(path).state
    except CheckpointError as error:
        log("checkpoint not used: %s", error)
        return None
