"""The checkpoints of a run: which is the newest, which are kept, and saving beside the training."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .background_save import BackgroundSave
from .checkpoint_directory import (
    Contents,
    Restored,
    SavedCheckpoint,
    check_step,
    contents_of,
    load_weights,
    restore_checkpoint,
    step_of,
    verify_checkpoint,
    write_checkpoint,
)
from .checkpoint_json import CheckpointError, CheckpointVersionError
from .choices import WhichCheckpoint
from .configuration import as_json, first_difference
from .files import atomic_file, open_regular, remove_directory, remove_leftovers, sync_directory
from .state import HostBuffers
from .strict_json import Json

logger = logging.getLogger(__name__)

_LATEST = "latest"


class Checkpoints:
    """The checkpoints of one run, one directory each, and `latest`, a file that names the newest.

    The newest checkpoint that is whole is the one that is used, and none that is whole is deleted for one
    that is older. `latest` says which it is to people and programs: it is moved when a checkpoint is whole on
    the disk, and written anew where it says something else. It is a file and not a symbolic link: those need
    rights on Windows, and get lost on some network disks and in copies. What is older is deleted last.

    Args:
        directory: Where they stand; made when the first is saved.
        keep_last: How many of the newest to keep; two, so that one damaged later by the disk leaves another.
        keep_best: How many of those with the least `metric` to keep beside them.
        asynchronous: Whether `save` copies the tensors to memory of its own, as much as they take, and
            returns, while a thread writes them. One that is still being written is waited for by the next
            `save`, by `wait`, by `restore`, and by the end of the process. A failure is logged at once and
            the next `save` is tried; it is raised by the `save` after that, if that one failed too, and by
            `wait` and `restore`, if no save came after it.
        run: What the run depends on, as JSON: configuration, fingerprints of data and tokenizer. Saved with
            each checkpoint; one of another run is refused. To load weights, a part of it will do.
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
        found = [path for path in self.directory.glob("step-*") if step_of(path) is not None]
        return sorted(found, key=_step)

    def path_of(self, step: int) -> Path:
        """Return where the checkpoint of a step stands.

        Raises:
            TypeError: If it is no whole number.
            ValueError: If it is negative.
        """
        return self.directory / f"step-{check_step('step', step):08d}"

    def latest(self) -> Path | None:
        """Return the checkpoint that `latest` names, None, with a warning, if it names none."""
        try:
            with open_regular(self.directory / _LATEST) as file:
                name = file.read(100).decode().removesuffix("\n")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s not used: %s", self.directory / _LATEST, error)
            return None
        path = self.directory / name
        if step_of(path) is None or path.name != name or not path.exists():
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
        until_update: bool = False,
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
            until_update: Whether `before_update` will be called before a parameter, the optimizer's state or
                one of the extra tensors changes. On the CPU they are then copied in the thread too, beside
                the next forward and backward pass, which read them. On other devices the copy is done first.

        Returns:
            Where it stands, or will.

        Raises:
            OSError: If the disk is full; the message names the path and the bytes needed. The checkpoints
                before this one stay as they are. If asynchronous, it is the two saves before that failed, and
                this one is not tried.
            TypeError: If there is what can't be saved.
        """
        self._saving.make_way()
        path = self.path_of(step)
        described = self.described(step, wallclock_seconds, extra, metric)
        contents = contents_of(model, optimizer, extra_tensors, described)
        if self.asynchronous:
            beside = until_update and all(t.device.type == "cpu" for t in contents.tensors().values())

            def copy() -> None:
                nonlocal contents
                contents = self._copied(contents, num_threads=1 if beside else torch.get_num_threads())

            if not beside:
                copy()
            self._saving.begin(path, lambda: self._write(path, contents), copy=copy if beside else None)
        else:
            self._write(path, contents)
        return path

    def before_update(self) -> None:
        """Return when what was saved with `until_update` may change."""
        self._saving.copied()

    def wait(self) -> None:
        """Return when all that was saved is on the disk.

        Raises:
            OSError: If the last save went on in a thread and has failed; its checkpoint is not there.
        """
        self._saving.wait()

    def restore(self, model: Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint that verifies, for the run that writes here; None if there is none.

        A damaged one is named in a warning and the one before it is used. What a killed save left is deleted,
        and what it would have deleted.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole.
            CheckpointVersionError: If the newest that is not damaged is of another version.
            ValueError: If the checkpoint is whole, and of another run, model or optimizer; both are named. If
                `latest` is a directory.
        """
        self.wait()
        if self.directory.is_dir():
            self.make_ready()

        def load(path: Path) -> Restored:
            self._check_run(path)
            return restore_checkpoint(path, model, optimizer)

        restored = self._newest(load)
        if restored is not None:
            if self.latest() != restored.path:
                self._name(restored.path)
            if restored.path == self.paths()[-1]:
                self._prune(restored.path)  # once more: a kill may have come before this
        return restored

    def restore_weights(self, model: Module, which: WhichCheckpoint = "latest") -> Restored | None:
        """Load the weights alone of one checkpoint, verified, as for generation; None if there is none.

        Of `run` only what was given is compared with the checkpoint's.

        Args:
            model: What they go into.
            which: "latest", the newest that verifies, like `restore`; "best", the one with the least metric;
                or the step of one.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole, or the chosen one is not.
            ValueError: If there are checkpoints and not the one asked for, or it is of another run or model.
        """

        def load(path: Path) -> Restored:
            self._check_run(path, self.run)
            return load_weights(path, model)

        self.wait()
        steps = [_step(path) for path in self.paths()]
        if which == "latest" or not steps:
            return self._newest(load)
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
        return load(path)

    def _check_run(self, path: Path, names: Iterable[str] | None = None) -> None:
        """Refuse a checkpoint of another run, or of one where the values of these names are others."""
        theirs = SavedCheckpoint(path).state["run"]
        if names is not None:
            theirs = {name: theirs.get(name) for name in names}
        difference = first_difference(self.run, theirs) if self.run else None
        if difference is not None:
            msg = f"{path} is of a run with {difference}"
            raise ValueError(msg)

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

    def described(
        self, step: int, wallclock_seconds: float, extra: Mapping[str, Any], metric: float | None
    ) -> Json:
        """Return what a checkpoint says of a run beside its tensors."""
        return {
            "step": check_step("step", step),
            "wallclock_seconds": float(wallclock_seconds),
            "metric": float(metric) if metric is not None and math.isfinite(metric) else None,
            "run": as_json(self.run),
            "about": as_json(self.about),
            "extra": dict(extra),
        }

    def make_ready(self) -> None:
        """Make the directory, and remove from it what a killed save has left.

        Raises:
            ValueError: If `latest` is a directory.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.directory)
        latest = self.directory / _LATEST
        if latest.is_dir() and not latest.is_symlink():
            msg = f"{latest} is a directory, where a file that names the newest checkpoint belongs: rename it"
            raise ValueError(msg)

    def _copied(self, contents: Contents, *, num_threads: int) -> Contents:
        tensors = (contents.model, contents.training, contents.extra)
        model, training, extra = (
            buffers.copy(of_kind, num_threads=num_threads)
            for buffers, of_kind in zip(self._buffers, tensors, strict=True)
        )
        return replace(contents, model=model, training=training, extra=extra)

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
        """Delete what is not to be kept; a checkpoint that is not whole protects no other one from that.

        Args:
            newest: Every byte of it has been read, by who wrote or loaded it.
        """
        paths = self.paths()
        whole = [path for path in paths if _step(path) <= _step(newest) and _state_of(path) is not None]
        if newest not in whole:
            msg = f"{newest} is not as it was written a moment ago; nothing older was deleted"
            raise CheckpointError(msg)
        # What is ahead is damaged, or the run would have gone on from there; or somebody has put it there.
        ahead = [path for path in paths if _step(path) > _step(newest) and _is_whole(path)]
        foreign = filter(_is_of_other_version, paths)
        kept = {*whole[-self.keep_last :], *self._by_metric(whole)[: self.keep_best], *ahead, *foreign}
        for path in paths:
            if path not in kept:
                remove_directory(path)
        sync_directory(self.directory)

    def _by_metric(self, paths: list[Path], log: Callable[..., None] = logger.debug) -> list[Path]:
        states = {path: _state_of(path, log) for path in paths}
        metrics = {path: state["metric"] for path, state in states.items() if state is not None}
        measured = [path for path, metric in metrics.items() if metric is not None]
        return sorted(measured, key=lambda path: (metrics[path], _step(path)))


def _step(path: Path) -> int:
    return step_of(path) or 0


def _is_whole(path: Path) -> bool:
    try:
        verify_checkpoint(path)
    except (CheckpointError, CheckpointVersionError):
        return False
    return True


def _is_of_other_version(path: Path) -> bool:
    try:
        SavedCheckpoint(path)
    except CheckpointVersionError:
        return True
    except CheckpointError:
        pass
    return False


def _state_of(path: Path, log: Callable[..., None] = logger.debug) -> Json | None:
    try:
        return SavedCheckpoint(path).state
    except (CheckpointError, CheckpointVersionError) as error:
        log("checkpoint not used: %s", error)
        return None
