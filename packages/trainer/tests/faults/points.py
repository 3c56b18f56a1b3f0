"""Death at a named point of a save: the calls to the system are replaced by ones that kill the process."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS = ("open", "half written", "before sync", "before rename", "before the pointer", "while pruning")
_ASIDE = re.compile(r"\.step-\d+\.\d+\.part")


class _Save:
    """Which save it is, and how far: counted by what is asked of the system."""

    number = 0
    calls = 0
    pruning = False


def kill_at(point: str, save: int, call: int) -> None:
    """Kill this process in its save number `save`, at that point.

    Args:
        point: One of POINTS.
        save: From 1.
        call: Which of the calls of that kind in the save, from 0; the last one if there are not so many.
    """
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in _REPLACED}

    def due(here: str) -> bool:
        if here != point or _Save.number != save:
            return False
        _Save.calls += 1
        return _Save.calls > call

    def mkdir(path: Any, *rest: Any, **named: Any) -> None:
        if _ASIDE.fullmatch(Path(path).name):
            _Save.number += 1
            _Save.pruning = False
        real["mkdir"](path, *rest, **named)

    def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        descriptor: int = real["open"](path, flags, *rest, **named)
        if flags & os.O_CREAT and _ASIDE.fullmatch(Path(path).parent.name) and due("open"):
            die()
        return descriptor

    def write(descriptor: int, data: Any) -> int:
        if _in_save(descriptor) and due("half written"):
            real["write"](descriptor, bytes(data)[: len(data) // 2])
            die()
        return int(real["write"](descriptor, data))

    def fsync(descriptor: int) -> None:
        if _in_save(descriptor) and due("before sync"):
            die()
        real["fsync"](descriptor)

    def rename(source: Any, target: Any, **named: Any) -> None:
        if _ASIDE.fullmatch(Path(source).name) and due("before rename"):
            die()
        if _Save.pruning and due("while pruning"):
            die()
        real["rename"](source, target, **named)

    def replace(source: Any, target: Any, **named: Any) -> None:
        if Path(target).name == "latest" and due("before the pointer"):
            die()
        real["replace"](source, target, **named)
        _Save.pruning = Path(target).name == "latest"  # what is deleted from here to the next save

    def unlink(path: Any, **named: Any) -> None:
        if _Save.pruning and due("while pruning"):
            die()
        real["unlink"](path, **named)

    replaced = (mkdir, open_, write, fsync, rename, replace, unlink)
    for name, function in zip(_REPLACED, replaced, strict=True):
        setattr(os, name, function)


_REPLACED = ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink")


def _in_save(descriptor: int) -> bool:
    return any(_ASIDE.fullmatch(part) for part in Path(f"/dev/fd/{descriptor}").resolve().parts)


def die() -> None:
    """End as with a power cut: nothing is caught, nothing flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
