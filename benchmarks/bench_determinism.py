"""What the same bits each time cost on a GPU: a training step with and without `deterministic`.

uv run benchmarks/bench_determinism.py [--batch-size 64] [--repetitions 30]

Each way trains twice from the same weights on the same tokens, and it is told whether the bits were the same.
"""

import argparse
import copy
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from common import print_machine
from hornbook.nn import TransformerLM
from hornbook.trainer import deterministic
from training_steps import Setting, update_step

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.experiment import tinystories_model

DEVICE = torch.device("cuda")


def measure(setting: Setting, tokens: Tensor, *, same: bool, repetitions: int) -> None:
    """Print the time of a step, and whether two trainings end with the same weights."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    with deterministic(DEVICE) if same else nullcontext():
        model = TransformerLM(setting.shape, device=DEVICE)
        begin = copy.deepcopy(model.state_dict())
        ends, times = [], []
        for _ in range(2):
            model.load_state_dict(begin)
            step = update_step(model, model.loss, tokens, setting)
            for _ in range(5 + repetitions):
                began = time.perf_counter()
                step()
                times.append(time.perf_counter() - began)
            del times[-5 - repetitions : -repetitions]  # the first ones compile
            ends.append(copy.deepcopy(model.state_dict()))
    bits = all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    print(
        f"{'compiled' if setting.compiled else 'eager':<9} {'deterministic' if same else 'as it comes':<14} "
        f"{1e3 * statistics.median(times):8.2f} ms a step (least {1e3 * min(times):.2f}), "
        f"{'the same bits' if bits else 'other bits'} the second time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=30)
    flags = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this machine has no CUDA device")
    torch.set_float32_matmul_precision("high")
    print_machine()
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, bf16 by autocast")
    shape = tinystories_model()
    ranks = torch.arange(1, shape.vocab_size + 1, dtype=torch.float64)
    # As in a text some ids come a thousand times: their gradients meet in one row of the table.
    tokens = torch.multinomial(1 / ranks, flags.batch_size * (shape.context_length + 1), replacement=True)
    tokens = tokens.view(flags.batch_size, -1).to(DEVICE)
    base = Setting(shape=shape, batch_size=flags.batch_size, device="cuda", bf16=True)
    for compiled in (False, True):
        setting = replace(base, compiled=compiled, fused_optimizer=compiled)
        for same in (False, True):
            measure(setting, tokens, same=same, repetitions=flags.repetitions)


if __name__ == "__main__":
    main()
