"""A checkpoint beside a copy of the same bytes, and how long training stands still for one saved in a thread.

uv run benchmarks/bench_checkpoint.py [--megabytes 512] [--directory DIR]
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

from common import print_machine
from hornbook.optim import AdamW
from hornbook.trainer import Checkpoints


def main() -> None:
    """Alternate: copy and sync, save, save in a thread; print medians, ranges and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512, help="of tensors in a checkpoint")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure; default: /tmp")
    arguments = parser.parse_args()
    side = round((arguments.megabytes * 10**6 / 12 / 8) ** 0.5)  # weights and two moments in float32
    model = torch.nn.Sequential(*(torch.nn.Linear(side, side, bias=False) for _ in range(8)))
    optimizer = AdamW(model.parameters(), 0.001)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        measure(directory, model, optimizer, arguments.repetitions)


def measure(
    directory: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, repetitions: int
) -> None:
    """Print the table."""
    at_once = Checkpoints(directory / "at-once", keep_last=1)
    beside = Checkpoints(directory / "beside", keep_last=1, asynchronous=True)
    step = 0
    source = at_once.save(step, model, optimizer, wallclock_seconds=0.0)
    beside.save(step, model, optimizer, wallclock_seconds=0.0)
    beside.wait()
    size = sum(path.stat().st_size for path in source.iterdir())
    seconds: dict[str, list[float]] = {"copy and sync": [], "save": [], "stall of a save in a thread": []}
    whole: list[float] = []
    for _ in range(repetitions):
        step += 1
        began = time.perf_counter()
        copy_and_sync(source, directory / "copy")
        seconds["copy and sync"].append(time.perf_counter() - began)
        shutil.rmtree(directory / "copy")
        began = time.perf_counter()
        source = at_once.save(step, model, optimizer, wallclock_seconds=0.0)
        seconds["save"].append(time.perf_counter() - began)
        began = time.perf_counter()
        beside.save(step, model, optimizer, wallclock_seconds=0.0)
        seconds["stall of a save in a thread"].append(time.perf_counter() - began)
        beside.wait()
        whole.append(time.perf_counter() - began)
    print_machine()
    print(f"{size / 1e6:.0f} MB, {torch.get_num_threads()} threads of torch; seconds, median (range), ratio")
    base = statistics.median(seconds["copy and sync"])
    for what, values in (seconds | {"save in a thread, to its end": whole}).items():
        median = statistics.median(values)
        print(f"  {what:<30} {median:.3f} ({min(values):.3f} to {max(values):.3f})   {median / base:.2f}")
    save = statistics.median(seconds["save"])
    print(f"  stall over save: {statistics.median(seconds['stall of a save in a thread']) / save:.3f}")


def copy_and_sync(source: Path, target: Path) -> None:
    """What `cp -r` and `sync` of these files do."""
    target.mkdir()
    for path in source.iterdir():
        with path.open("rb") as file, (target / path.name).open("wb") as out:
            shutil.copyfileobj(file, out, 2**22)
            out.flush()
            os.fsync(out.fileno())
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


if __name__ == "__main__":
    main()
