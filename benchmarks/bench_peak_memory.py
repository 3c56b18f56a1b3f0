"""Peak memory and first call of a training step, each contestant in a process of its own.

uv run --group peers benchmarks/bench_peak_memory.py [--batch-size 32] [--eager] [--nanogpt model.py]

Compiled contestants run twice: the first process fills the compiler's cache, the second, which is the one
that counts, finds it full. Resident memory on the CPU, with Python and torch in it; allocated memory on CUDA.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

began = time.perf_counter()

import torch  # noqa: E402

from common import print_machine  # noqa: E402
from training_steps import Setting, contestants, make_step  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.experiment import tinystories_model  # noqa: E402

STEPS = 3


def print_memory(setting: Setting) -> None:
    """Print a table: memory, first step with an empty and a full cache, the whole process."""
    kind = "compiled" if setting.compiled else "eager"
    print(f"\npeak memory, {kind}, {setting.batch_size} x {setting.shape.context_length}")
    for name in contestants(setting):
        with tempfile.TemporaryDirectory() as cache:
            runs = [_in_a_process(name, setting, cache) for _ in range(1 + setting.compiled)]
        first, last = runs[0], runs[-1]
        print(
            f"  {name:<24} {last['megabytes']:>7,.0f} MB; first step {last['first_step']:.1f} s "
            f"({first['first_step']:.1f} s with an empty cache), {last['imports']:.1f} s before it"
        )


def _in_a_process(name: str, setting: Setting, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--contestant", name, f"--batch-size={setting.batch_size}"]
    command += (
        [f"--device={setting.device}"] + ["--bf16"] * setting.bf16 + ["--eager"] * (not setting.compiled)
    )
    command += [f"--nanogpt={setting.nanogpt}"] * (setting.nanogpt is not None)
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def measure(name: str, setting: Setting) -> dict[str, float]:
    """Take some steps in this process."""
    step = make_step(name, setting)
    start = time.perf_counter()
    step()
    first_step = time.perf_counter() - start
    for _ in range(STEPS - 1):
        step()
    if torch.device(setting.device).type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    return {"megabytes": peak / 1e6, "first_step": first_step, "imports": start - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--contestant", help="measure this one here and print JSON")
    flags = parser.parse_args()
    setting = Setting(
        shape=tinystories_model(),
        batch_size=flags.batch_size,
        device=flags.device,
        bf16=flags.bf16,
        compiled=not flags.eager,
        nanogpt=flags.nanogpt,
    )
    if flags.contestant is not None:
        print(json.dumps(measure(flags.contestant, setting)))
        return
    print_machine()
    print_memory(setting)


if __name__ == "__main__":
    main()
