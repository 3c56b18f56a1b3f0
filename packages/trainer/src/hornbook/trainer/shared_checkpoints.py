"""The checkpoints of a run of many processes."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .background_save import BackgroundSave
from .checkpoint import Checkpoints
from .checkpoint_directory import (
    Restored,
    contents_of,
    restore_checkpoint,
    write_files,
    write_manifest,
)
from .checkpoint_json import STATE
from .distributed import World
from .files import atomic_directory, named_when_full
from .shards import Shard, encode_shard, is_cut, shard_names, shard_of
from .state import HostBuffers
from .strict_json import Json


class SharedCheckpoints:
    """`Checkpoints` for many processes: one set of them, of which all read the one that rank 0 has chosen.

    Where every process holds the same model and optimizer, rank 0 writes an ordinary checkpoint. Where they
    are in shards (FSDP), each process writes its own, and the checkpoint has its name when all are on the
    disk. Either can be gone on with by any number of processes, in shards or not, and opened by one. Torch's
    random generators of all processes are in it; one that had no part in the run before begins with one of
    its own.

    Args:
        checkpoints: Where they are; the directory is on a disk that all processes share.
        world: The processes. All of them call every method at the same step.
    """

    def __init__(self, checkpoints: Checkpoints, world: World) -> None:
        self._checkpoints = checkpoints
        self._world = world
        self._saving = BackgroundSave()
        self._buffers = HostBuffers()
        self._writers = world.apart() if checkpoints.asynchronous else world

    def restore(self, model: Module, optimizer: Optimizer) -> Restored | None:
        """Load the newest checkpoint that verifies into every process; None if there is none.

        Raises:
            CheckpointError: On rank 0, as `Checkpoints.restore`; so are its other errors.
            OtherRankError: On the other ranks then.
        """
        self.wait()
        own: list[Restored | None] = []

        def choose() -> str | None:
            own.append(self._checkpoints.restore(model, optimizer))
            return None if own[0] is None else str(own[0].path)

        path = self._world.on_main(choose)
        if path is None:
            return None
        with self._world.together():
            restored = own[0] if own else restore_checkpoint(Path(path), model, optimizer)
        if restored is not None and not self._world.is_main:
            self._restore_random(restored)
        return restored

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
        """Take a checkpoint; arguments and errors are those of `Checkpoints.save`, raised on rank 0.

        Args:
            step: Updates done.
            model: What is trained.
            optimizer: What trains it.
            wallclock_seconds: How long the run has trained.
            extra_tensors: More tensors, the same on every rank.
            extra: More values for JSON.
            metric: Validation loss.
            until_update: As there.

        Raises:
            OtherRankError: On the other ranks, if rank 0 could not save.
        """
        self._saving.make_way()
        random = {}
        for name, generator in self._own_random().items():
            for rank, row in enumerate(self._world.gather(generator)[1:], start=1):
                random[f"random.{rank}.{name}"] = row
        extra_tensors = {**extra_tensors, **random}
        path = self._checkpoints.path_of(step)
        if any(is_cut(param) for param in model.parameters()):
            described = self._checkpoints.described(step, wallclock_seconds, extra, metric)
            contents = contents_of(model, optimizer, extra_tensors, described)
            # What is the same everywhere is written once.
            tensors = contents.tensors().items()
            shard = shard_of({name: t for name, t in tensors if self._world.is_main or is_cut(t)})
            write = partial(self._write_shard, path, num_bytes=contents.num_bytes, state=contents.state)
            if self._checkpoints.asynchronous:
                beside = until_update and self._world.device.type == "cpu"

                def copy() -> None:
                    nonlocal shard
                    threads = 1 if beside else torch.get_num_threads()
                    shard = shard._replace(parts=self._buffers.copy(shard.parts, num_threads=threads))

                if not beside:
                    copy()
                self._saving.begin(path, lambda: write(shard), copy=copy if beside else None)
            else:
                write(shard)
        else:
            with self._world.together():
                if self._world.is_main:
                    self._checkpoints.save(
                        step,
                        model,
                        optimizer,
                        wallclock_seconds=wallclock_seconds,
                        extra_tensors=extra_tensors,
                        extra=extra,
                        metric=metric,
                        until_update=until_update,
                    )
        return path

    def _write_shard(self, path: Path, shard: Shard, *, num_bytes: int, state: bytes) -> None:
        world = self._writers
        with ExitStack() as held:

            def begin() -> str:
                self._checkpoints.make_ready()
                return str(held.enter_context(atomic_directory(path, needed_bytes=num_bytes, replace=True)))

            aside = Path(world.on_main(begin))
            name = shard_names(world.size)[world.rank]
            with world.together(), named_when_full(path / name, None):
                written = write_files(aside, {name: encode_shard(shard)})
            manifest: Json = {}
            for described in world.gather_json(written):
                manifest |= described
            with world.together():
                if world.is_main:
                    write_manifest(aside, manifest | write_files(aside, {STATE: [state]}))
                    held.close()
                    self._checkpoints.publish(path)

    def before_update(self) -> None:
        """Return when what was saved with `until_update` may change."""
        self._saving.copied()
        self._checkpoints.before_update()

    def wait(self) -> None:
        """Return when all that was saved is on the disk; raise the error of a save that failed."""
        self._saving.wait()
        self._checkpoints.wait()

    def _own_random(self) -> dict[str, Tensor]:
        """The states of the generators that this process uses."""
        device = self._world.device
        cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
        return {"cpu": torch.get_rng_state(), **cuda}

    def _restore_random(self, restored: Restored) -> None:
        prefix = f"random.{self._world.rank}."
        saved = {
            name.removeprefix(prefix): t
            for name, t in restored.extra_tensors.items()
            if name.startswith(prefix)
        }
        if "cpu" not in saved:
            seed = np.random.SeedSequence([restored.step, self._world.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(seed[0]))
            return
        torch.set_rng_state(saved["cpu"])
        if "cuda" in saved and self._world.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda"], self._world.device)
