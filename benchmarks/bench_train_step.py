"""A training step side by side with its peers, as a share of the matrix product; then memory and first calls.

uv run --group peers benchmarks/bench_train_step.py [--nanogpt model.py] [--device cuda --bf16]

Contestants take turns, a step each, the matrix product among them; ratios and shares are medians over rounds.
On one thread of a CPU (OMP_NUM_THREADS=1) CPU seconds are compared, which others on the machine disturb less.
"""

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import torch

from bench_peak_memory import print_memory
from common import Timing, alternate, print_machine, print_table
from hornbook.accounting import training_flops
from training_steps import Setting, contestants, make_step

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.experiment import demo, tinystories_model

SHAPES = {"demo": demo().model, "tinystories": tinystories_model()}
PRODUCT = "matrix product"
NUM_PRODUCTS = 4  # 2 % to 5 % of a step: long enough to be timed


def compare(setting: Setting, repetitions: int) -> None:
    """Print tokens per second, the ratio to each peer and the share of the matrix product."""
    shape, num_tokens = setting.shape, setting.batch_size * setting.shape.context_length
    dtype = torch.bfloat16 if setting.bf16 else torch.float32
    left = torch.randn(num_tokens, shape.d_model, device=setting.device, dtype=dtype)
    right = torch.randn(shape.d_model, shape.d_ff, device=setting.device, dtype=dtype)
    product = torch.empty(num_tokens, shape.d_ff, device=setting.device, dtype=dtype)

    def multiply() -> float:
        for _ in range(NUM_PRODUCTS):
            torch.mm(left, right, out=product)
        return float(product[0, 0])

    steps = {name: make_step(name, setting) for name in contestants(setting)}
    timings = alternate({**steps, PRODUCT: multiply}, repetitions)
    product_timing = timings.pop(PRODUCT)
    kind = "compiled" if setting.compiled else "eager"
    cpu = setting.device == "cpu" and torch.get_num_threads() == 1

    def seconds(timing: Timing) -> list[float]:
        return timing.cpu if cpu else timing.wall

    print_table(
        f"training step, {kind}, {setting.batch_size} x {shape.context_length}",
        timings,
        num_tokens,
        "tokens",
        cpu=cpu,
    )
    ours = seconds(timings["hornbook"])
    for name, timing in timings.items():
        if name != "hornbook":
            ratios = [theirs / own for theirs, own in zip(seconds(timing), ours, strict=True)]
            print(
                f"  ours / {name}, over rounds: median {statistics.median(ratios):.3f}, "
                f"{min(ratios):.3f} to {max(ratios):.3f}"
            )
    product_flops = 2 * NUM_PRODUCTS * num_tokens * shape.d_model * shape.d_ff
    step_flops = training_flops(shape, batch_size=setting.batch_size)
    products = seconds(product_timing)
    shares = [
        (step_flops / own) / (product_flops / product) for own, product in zip(ours, products, strict=True)
    ]
    print(
        f"  matrix product {product_flops / statistics.median(products) / 1e9:.0f} GFLOP/s; "
        f"hornbook reaches {statistics.median(shares):.0%} of it"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(SHAPES), default="tinystories")
    parser.add_argument("--kinds", nargs="+", choices=("eager", "compiled"), default=("eager", "compiled"))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[8])
    parser.add_argument(
        "--memory-batch-sizes", nargs="*", type=int, default=[8, 32], help="none: leave it out"
    )
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--nanogpt", type=Path, help="model.py of karpathy/nanoGPT, which is on no registry")
    flags = parser.parse_args()
    if torch.device(flags.device).type == "cuda":
        torch.set_float32_matmul_precision("high")
    print_machine()
    base = Setting(
        shape=SHAPES[flags.model],
        batch_size=flags.batch_sizes[0],
        device=flags.device,
        bf16=flags.bf16,
        nanogpt=flags.nanogpt,
    )
    precision = "bf16" if flags.bf16 else "fp32"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {flags.device}, {precision}")
    print(base.shape)
    for kind in flags.kinds:
        for batch_size in flags.batch_sizes:
            compiled = kind == "compiled"
            compare(
                replace(base, batch_size=batch_size, compiled=compiled, fused_optimizer=compiled),
                flags.repetitions,
            )
    for batch_size in flags.memory_batch_sizes:
        print_memory(replace(base, batch_size=batch_size, compiled=True))


if __name__ == "__main__":
    main()
