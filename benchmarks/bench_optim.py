"""Optimizer steps and clipping side by side with torch's, on the parameters of the TinyStories model.

uv run benchmarks/bench_optim.py [--device cuda] [--repetitions 40]

Muon also takes turns with a whole compiled training step of 32 x 256 tokens: its share of that is printed.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common import Timing, alternate, print_machine, print_table
from hornbook.nn import TransformerLM
from hornbook.optim import AdamW, Muon, clip_grad_norm_, decay_groups, describe_groups, muon_groups
from training_steps import Setting, make_step

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.device import matmul_flops_per_second
from recipes.experiment import tinystories_model

SHAPE = tinystories_model()
NOT_HIDDEN = ("token_embeddings", "lm_head")
BATCH_SIZE = 32
TRAINING = f"(training step, {BATCH_SIZE} x {SHAPE.context_length}, with AdamW)"


def model_with_gradients(device: torch.device) -> nn.Module:
    model = TransformerLM(SHAPE, device=device)
    for param in model.parameters():
        param.grad = torch.randn_like(param)
    return model


def waiting(step: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """Return the step with a wait for the device at its end."""

    def timed() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return timed


def adamw_contestants(device: torch.device) -> dict[str, Callable[[], None]]:
    settings: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.95)}
    steps = {}
    for name, fused in (("hornbook, fused", True), ("hornbook", False)):
        steps[name] = AdamW(decay_groups(model_with_gradients(device), 0.1), fused=fused, **settings).step
    for name in ("fused", "foreach", "for-loop"):
        how: dict[str, Any] = {"foreach": False} if name == "for-loop" else {name: True}
        groups = decay_groups(model_with_gradients(device), 0.1)
        steps[f"torch, {name}"] = torch.optim.AdamW(groups, **settings, **how).step
    return {name: waiting(step, device) for name, step in steps.items()}


def muon_contestants(device: torch.device, *, with_adamw: bool) -> dict[str, Callable[[], None]]:
    """The hidden matrices alone, which is all that torch's Muon does, or our whole step."""
    steps = {}
    for dtype in (torch.float32, torch.bfloat16):
        groups = muon_groups(model_with_gradients(device), 0.1, not_hidden=NOT_HIDDEN)
        ours = Muon(groups if with_adamw else groups[:1], lr=1e-4, dtype=dtype, fused=with_adamw)
        steps[f"hornbook, {str(dtype).removeprefix('torch.')}"] = ours.step
    if not with_adamw:
        hidden = muon_groups(model_with_gradients(device), 0.1, not_hidden=NOT_HIDDEN)[0]["params"]
        steps["torch, bfloat16"] = torch.optim.Muon(hidden, lr=1e-4, adjust_lr_fn="match_rms_adamw").step
    return {name: waiting(step, device) for name, step in steps.items()}


def clip_contestants(device: torch.device) -> dict[str, Callable[[], None]]:
    # The bound is beyond reach, so that gradients stay as they are, but all is computed.
    params = [list(model_with_gradients(device).parameters()) for _ in range(2)]
    steps = {
        "hornbook": lambda: clip_grad_norm_(params[0], 1e9),
        "torch": lambda: nn.utils.clip_grad_norm_(params[1], 1e9),
    }
    return {name: waiting(step, device) for name, step in steps.items()}


def newton_schulz_flops(model: nn.Module) -> int:
    """FLOPs of five steps: X X^T and P X are 2 n^2 m each, A A is 2 n^3, for n x m with n <= m."""
    hidden = muon_groups(model, 0.1, not_hidden=NOT_HIDDEN)[0]["params"]
    sides = [sorted(param.shape) for _, param in hidden]
    return sum(5 * (4 * n * n * m + 2 * n**3) for n, m in sides)


def report(
    title: str, contestants: Mapping[str, Callable[[], object]], repetitions: int, amount: int
) -> dict[str, Timing]:
    timings = alternate(contestants, repetitions)
    print_table(title, timings, amount, "parameters", cpu=False)
    for name, timing in timings.items():
        print(f"    {name:<32} {1e3 * statistics.median(timing.wall):9.2f} ms")
    return timings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=("adamw", "muon", "clip"))
    flags = parser.parse_args()
    device = torch.device(flags.device)
    model = model_with_gradients(device)
    print_machine()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device}, parameters in float32")
    print(describe_groups(muon_groups(model, 0.1, not_hidden=NOT_HIDDEN)))
    total = sum(param.numel() for param in model.parameters())
    hidden = sum(param.numel() for _, param in muon_groups(model, 0.1, not_hidden=NOT_HIDDEN)[0]["params"])

    if flags.only in (None, "adamw"):
        report("AdamW", adamw_contestants(device), flags.repetitions, total)
    if flags.only in (None, "clip"):
        report("clipping by the global norm", clip_contestants(device), flags.repetitions, total)
    if flags.only in (None, "muon"):
        few = max(5, flags.repetitions // 5)
        report("Muon, hidden matrices", muon_contestants(device, with_adamw=False), few, hidden)
        training = Setting(
            shape=SHAPE, batch_size=BATCH_SIZE, device=flags.device, compiled=True, fused_optimizer=True
        )
        steps = muon_contestants(device, with_adamw=True) | {TRAINING: make_step("hornbook", training)}
        timings = report("Muon, whole step", steps, few, total)
        whole = timings.pop(TRAINING).wall
        for name, timing in timings.items():
            shares = [part / all_of_it for part, all_of_it in zip(timing.wall, whole, strict=True)]
            print(f"    {name:<32} {statistics.median(shares):9.1%} of the training step")
        seconds = statistics.median(timings["hornbook, float32"].wall)
        rate = matmul_flops_per_second(
            device, "fp32", rows=SHAPE.d_model, inner=SHAPE.d_model, columns=SHAPE.d_ff, seconds=1
        )
        flops = newton_schulz_flops(model)
        print(
            f"\n5 Newton-Schulz steps are {flops / 1e9:.0f} GFLOP, {flops / rate:.3f} s at the "
            f"{rate / 1e9:.0f} GFLOP/s of a float32 product; the whole step in float32 takes {seconds:.3f} s"
        )


if __name__ == "__main__":
    main()
