"""A checkpoint beside a copy of the same bytes, and how long training stands still for one saved in a thread.

Still is what `save` takes and what the next update waits for it. What else it costs, the time of steps tells:
as many steps with one save among them, in a thread, and without.

uv run benchmarks/bench_checkpoint.py [--megabytes 512] [--directory DIR]
uv run torchrun --nproc-per-node 2 benchmarks/bench_checkpoint.py     # in shards, each process its own
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common import print_machine
from hornbook.optim import AdamW
from hornbook.trainer import Checkpoints, SharedCheckpoints, World, joined_world, parallelize

NUM_STEPS, BATCH_SIZE = 8, 128


def main() -> None:
    """Alternate: copy and sync, save, save in a thread; print medians, ranges and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512, help="of tensors in a checkpoint")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure; default: /tmp")
    arguments = parser.parse_args()
    with joined_world("cpu") as world, ExitStack() as stack:

        def new_directory() -> str:
            made: str = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.directory))
            return made

        directory = Path(world.on_main(new_directory))
        seconds, size = measure(world, directory, arguments.megabytes, arguments.repetitions)
    if world.is_main:
        print_machine()
        print(
            f"{size / 1e6:.0f} MB, processes: {world.size}, threads of torch in each: "
            f"{torch.get_num_threads()}; seconds, median (range), ratio"
        )
        medians = {what: statistics.median(values) for what, values in seconds.items()}
        for what, values in seconds.items():
            ratio = medians[what] / medians["copy and sync"]
            print(f"  {what:<30} {medians[what]:.3f} ({min(values):.3f} to {max(values):.3f})   {ratio:.2f}")
        print(f"  stall over save: {medians['stall of that save'] / medians['save']:.3f}")


def measure(
    world: World, directory: Path, megabytes: int, repetitions: int
) -> tuple[dict[str, list[float]], int]:
    """Return the seconds of each repetition, and the bytes of a checkpoint."""
    side = round((megabytes * 10**6 / 12 / 8) ** 0.5)  # weights and two moments in float32
    model = torch.nn.Sequential(*(torch.nn.Linear(side, side, bias=False) for _ in range(8)))
    parallelize(model, lambda inputs, _: inputs.mean(), world, "fsdp", units=model)
    optimizer = AdamW(model.parameters(), 0.001)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    at_once, beside = (
        SharedCheckpoints(Checkpoints(directory / name, keep_last=1, asynchronous=name == "beside"), world)
        for name in ("at-once", "beside")
    )
    seconds: dict[str, list[float]] = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        world.gather_json(None)  # all begin together, and end
        began = time.perf_counter()
        work()
        world.gather_json(None)
        seconds.setdefault(what, []).append(time.perf_counter() - began)

    inputs = torch.randn(BATCH_SIZE, side)
    stalls: list[float] = []

    def steps(number: int) -> None:
        for _ in range(number):
            model(inputs).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def steps_and_save(first: bool = False, **save: Any) -> None:
        began = time.perf_counter()
        beside.save(**save, until_update=not first)
        stall = time.perf_counter() - began
        model(inputs).square().mean().backward()
        began = time.perf_counter()
        beside.before_update()
        stalls.append(stall + time.perf_counter() - began)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps(NUM_STEPS - 1)
        beside.wait()

    copy = directory / "copy"
    for step in range(repetitions + 1):  # the first one makes memory and directories, and isn't counted
        save: dict[str, Any] = {
            "step": step,
            "model": model,
            "optimizer": optimizer,
            "wallclock_seconds": 0.0,
        }
        timed("save", partial(at_once.save, **save))
        source = directory / "at-once" / f"step-{step:08d}"
        timed("copy and sync", partial(world.on_main, partial(copy_and_sync, source, copy)))
        world.on_main(partial(shutil.rmtree, copy))
        timed("steps without a save", partial(steps, NUM_STEPS))
        timed("steps and a save, copied beside", partial(steps_and_save, **save))
        seconds.setdefault("stall of that save", []).append(stalls.pop())
        timed("steps and a save, copied first", partial(steps_and_save, **save, first=True))
        seconds.setdefault("stall of a save, copied first", []).append(stalls.pop())
    counted = {what: values[1:] for what, values in seconds.items()}
    return counted, sum(path.stat().st_size for path in source.iterdir())


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
