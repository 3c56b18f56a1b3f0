"""A training step side by side with its peers, as a share of matrix products; then memory and first calls.

uv run --group peers benchmarks/bench_train_step.py [--nanogpt model.py] [--device cuda --bf16]

Contestants take turns, a step each; ratios and shares are medians over rounds. Among them are one large
matrix product, whose rate is the measure of a step, and all products of a step, each in its shape and role,
with nothing between them: the least that a step takes which computes all scores. nanoGPT's have other shapes
and 1 % more FLOPs. On one thread of a CPU (OMP_NUM_THREADS=1) CPU seconds are compared, which others on the
machine disturb less.
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
from step_products import products_of_a_step
from training_steps import Setting, contestants, make_step

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.experiment import demo, tinystories_model

SHAPES = {"demo": demo().model, "tinystories": tinystories_model()}
PRODUCT = "matrix product"
PRODUCTS = "products of a step"
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
    references = {PRODUCT: multiply, PRODUCTS: products_of_a_step(setting)}
    timings = alternate({**steps, **references}, repetitions)
    product_timing, products_timing = timings.pop(PRODUCT), timings.pop(PRODUCTS)
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
    one, all_of_them = seconds(product_timing), seconds(products_timing)

    def share_of_the_rate(step: list[float]) -> float:
        rates = (
            (step_flops / own) / (product_flops / product) for own, product in zip(step, one, strict=True)
        )
        return statistics.median(rates)

    print(
        f"  matrix product {product_flops / statistics.median(one) / 1e9:.0f} GFLOP/s; "
        f"a step's products alone {statistics.median(all_of_them):.3f} s, "
        f"{share_of_the_rate(all_of_them):.0%} of its rate"
    )
    for name, timing in timings.items():
        least = (products / own for products, own in zip(all_of_them, seconds(timing), strict=True))
        print(
            f"  {name:<34} {share_of_the_rate(seconds(timing)):.0%} of the matrix product, "
            f"{statistics.median(least):.0%} of the products of a step"
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
