"""Many processes as one run: who this process is, and the few things they tell one another.

torchrun starts the processes and puts into their environment who each is; without it there is one, and all
here does nothing. Values go as numbers in tensors and as JSON: torch's own ways to send objects use pickle.
"""

import ctypes
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class OtherRankError(RuntimeError):
    """Another process of the run has failed; what went wrong is said there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The processes of a run, seen from one of them. `World()` is the only one.

    Example:
        >>> world = World()
        >>> world.size, world.is_main, world.gather(torch.tensor([2.0, 3.0]))
        (1, True, tensor([[2., 3.]]))
        >>> world.on_main(lambda: {"tokens": 7})
        {'tokens': 7}
    """

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Number of this process on its machine."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009, a device is a value
    """What this process computes on."""
    store: Store | None = field(default=None, repr=False, compare=False)
    """Where processes leave each other notes; None if there is one."""
    group: dist.ProcessGroup | None = field(default=None, repr=False, compare=False)
    """Over what they talk; None: torch's default group."""
    _notes: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which alone prints, logs and writes."""
        return self.rank == 0

    def apart(self) -> "World":
        """Return the same processes with a line of their own, for a thread beside the training: on the CPU.

        Every process must call it.
        """
        if self.store is None:
            return self
        store = PrefixStore(f"apart-{next(self._notes)}", self.store)
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)  # all are in it
        return replace(self, device=torch.device("cpu"), store=store, group=group, _notes=itertools.count())

    def gather(self, numbers: Tensor) -> Tensor:
        """Return what every process gave, one row each: (n,) in, (size, n) out, on the same device.

        Every process must call it, with as many numbers of one type.
        """
        if self.size == 1:
            return numbers[None]
        rows = numbers.new_empty(self.size, *numbers.shape)
        dist.all_gather(list(rows), numbers.contiguous(), group=self.group)
        return rows

    def mean(self, numbers: Tensor) -> Tensor:
        """Return the mean over the processes, number by number; every process must call it."""
        return self.gather(numbers).mean(0)

    def gather_json(self, value: Any) -> list[Any]:
        """Return what every process gave, by rank: values for JSON. Every process must call it."""
        if self.size == 1:
            return [json.loads(json.dumps(value))]
        sent = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = self.gather(torch.tensor([len(sent)]))[:, 0].tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(sent)] = sent
        rows = self.gather(padded)
        return [json.loads(bytes(row[:length].tolist())) for row, length in zip(rows, lengths, strict=True)]

    def on_main(self, work: Callable[[], T]) -> T:
        """Do something on rank 0 alone, while the others wait however long it takes; all get the result.

        Args:
            work: Its result is a value for JSON.

        Raises:
            OtherRankError: On the others, if it fails on rank 0, where its own error is raised.
        """
        if self.store is None:
            return work()
        # A collective would give up after some minutes, and hear no signal while it waits.
        note = f"hornbook/{next(self._notes)}"
        if self.is_main:
            try:
                result = work()
                self.store.set(note, json.dumps([result]))
            except BaseException:
                self.store.set(note, "[]")
                raise
            return result
        while not self.store.check([note]):
            time.sleep(_POLL_SECONDS)
        answer: list[T] = json.loads(self.store.get(note))
        if not answer:
            msg = "rank 0 has failed"
            raise OtherRankError(msg)
        return answer[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do a block in every process; where it fails in one, it fails in all, and none waits for ever.

        Raises:
            OtherRankError: If the block went well here and failed elsewhere.
        """
        try:
            yield
        except Exception:
            self.gather_json(False)
            raise
        if not all(self.gather_json(True)):
            msg = "another process has failed"
            raise OtherRankError(msg)

    def share_of(self, batch_size: int, *, name: str = "batch_size") -> int:
        """Return how many of a batch's rows each process takes.

        Raises:
            ValueError: If the batch can't be divided evenly; both numbers are named.

        Example:
            >>> World(size=4).share_of(32)
            8
        """
        if batch_size % self.size:
            below = batch_size - batch_size % self.size
            other = " or ".join(str(n) for n in (below, below + self.size) if n)
            msg = (
                f"{name} must be a multiple of the number of processes, got {batch_size} and {self.size}: "
                f"take {other}, or start fewer processes"
            )
            raise ValueError(msg)
        return batch_size // self.size


def asked_for_processes(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int] | None:
    """Return (rank, size, local rank) that torchrun has put into the environment; None without it.

    Raises:
        ValueError: If there is a part of it only, or it is no such numbers.

    Example:
        >>> asked_for_processes({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
        (3, 4, 1)
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = {name: environment[name] for name in names if name in environment}
    if not found:
        return None
    try:
        rank, size, local_rank = (int(found[name]) for name in names)
        fits = 0 <= local_rank <= rank < size
    except (KeyError, ValueError):
        fits = False
    if not fits:
        told = ", ".join(f"{name}={found.get(name, 'nothing')}" for name in names)
        msg = f"the environment names no place among processes ({told}): start them with torchrun"
        raise ValueError(msg)
    return rank, size, local_rank


@contextmanager
def joined_world(device: torch.device | str) -> Iterator[World]:
    """Join the processes that torchrun has started, while the block runs; without it, be the only one.

    They talk by gloo on the CPU and by NCCL among GPUs.

    Args:
        device: "cpu", or "cuda": then each process takes the GPU of its local rank.

    Raises:
        ValueError: If the device can't be shared out among the processes.
    """
    device = torch.device(device)
    place = asked_for_processes()
    if place is None or place[1] == 1:
        if device.type == "cuda" and device.index is not None:
            # What asks torch for "the" GPU, such as which precisions it has, must not hear of another one.
            torch.cuda.set_device(device)
        yield World(device=device)
        return
    rank, size, local_rank = place
    _end_with_torchrun()
    device = _device_of(device, local_rank)
    store = _of_this_start(next(rendezvous("env://"))[0], rank, size)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size)
    yield World(rank=rank, size=size, local_rank=local_rank, device=device, store=store)
    # Not after an error: the others may be gone, and NCCL would wait for them.
    dist.destroy_process_group()


def _end_with_torchrun() -> None:
    """On Linux, end when torchrun does, however it ends.

    It hands signals on and ends its processes, but not if it is killed: they would wait for one another and
    for its store, hold the run's directory, and nobody would see.
    """
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _of_this_start(store: Store, rank: int, size: int) -> Store:
    """Return a part of the store into which no earlier start of these processes has written.

    torchrun's store outlives the processes that `--max-restarts` starts anew, and the next ones would take
    what is left there for an answer to them. Nothing in their environment tells one start from another on all
    machines: torchrun counts restarts on each by itself. So each makes up a name, which only rank 0 of the
    same start can answer.
    """
    own = os.urandom(8).hex()
    if rank:
        store.set(f"start/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.set(f"{name}/{rank}", "heard")
        return PrefixStore(name, store)
    others = list(range(1, size))
    while others:
        for other in others:
            name = store.get(f"start/{other}").decode()  # of an earlier start, until it has come
            store.set(f"answer/{name}", own)
        others = [other for other in others if not store.check([f"{own}/{other}"])]
        time.sleep(_POLL_SECONDS)
    return PrefixStore(own, store)


def _device_of(device: torch.device, local_rank: int) -> torch.device:
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        msg = f"many processes need the device cpu or cuda, got {device}: start one process for {device}"
        raise ValueError(msg)
    if device.index is not None:
        msg = f"with many processes each takes the GPU of its number, got {device}: give cuda, or one process"
        raise ValueError(msg)
    there = torch.cuda.device_count()
    if local_rank >= there:
        msg = f"process {local_rank} of this machine has no GPU: there are {there}, start as many processes"
        raise ValueError(msg)
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
