"""Greedy generation side by side with transformers' `generate`: the same weights, the same ids out.

uv run --group peers benchmarks/bench_generate.py [--batch-sizes 1 16] [--dtype bfloat16] [--device cuda]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import transformers

from common import alternate, print_machine, print_table
from hornbook.nn import GREEDY, Sampling, TransformerConfig, TransformerLM, generate_batch
from hornbook.nn.formats import save_huggingface

SHAPE = TransformerConfig(
    vocab_size=10_000, context_length=256, num_layers=4, d_model=512, num_heads=16, d_ff=1344
)
SAMPLED = Sampling(temperature=0.8, top_p=0.9)


def bytes_per_second(device: torch.device) -> dict[str, float]:
    """Measure how fast memory is read: by a sum, and by products of a vector with matrices of the model."""
    numbers = torch.randn(2**26, device=device)  # 256 MiB, more than a cache's share
    matrices = torch.randn(97, SHAPE.d_ff, SHAPE.d_model, device=device)  # 267 MB
    vector = torch.randn(SHAPE.d_model, device=device)

    def products() -> torch.Tensor:
        return torch.stack([matrix.mv(vector)[0] for matrix in matrices]).sum()

    ways: dict[str, tuple[Callable[[], torch.Tensor], int]] = {
        "sum": (numbers.sum, numbers.nbytes),
        "matrix times vector": (products, matrices.nbytes),
    }
    rates = {}
    for name, (read, num_bytes) in ways.items():
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            read().item()
            seconds.append(time.perf_counter() - start)
        rates[name] = num_bytes / statistics.median(seconds)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--num-tokens", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the weights")
    flags = parser.parse_args()
    device, dtype = torch.device(flags.device), getattr(torch, flags.dtype)
    print_machine()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device}, {flags.dtype}; {SHAPE}")

    torch.manual_seed(0)
    ours = TransformerLM(SHAPE)
    with tempfile.TemporaryDirectory() as directory:
        save_huggingface(ours, directory)
        theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
    ours.to(device, dtype), theirs.to(device, dtype).eval()
    length, num_tokens = flags.prompt_tokens, flags.num_tokens
    greedy_seconds = {}
    for batch_size in flags.batch_sizes:
        prompts = torch.randint(1, SHAPE.vocab_size, (batch_size, length), device=device)

        def our_ids(rows: torch.Tensor, sampling: Sampling) -> list[list[int]]:
            seeds = list(range(len(rows)))
            return generate_batch(ours, rows.tolist(), max_tokens=num_tokens, sampling=sampling, seeds=seeds)

        def their_ids(rows: torch.Tensor, sampling: Sampling) -> list[list[int]]:
            options = {"temperature": sampling.temperature, "top_k": 0, "top_p": sampling.top_p}
            continued = theirs.generate(
                rows,
                attention_mask=torch.ones_like(rows),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                pad_token_id=0,
                **({"do_sample": False} if sampling == GREEDY else {"do_sample": True, **options}),
            )
            ids: list[list[int]] = continued[:, length:].tolist()
            return ids

        same = sum(a == b for a, b in zip(our_ids(prompts, GREEDY), their_ids(prompts, GREEDY), strict=True))
        print(f"\nbatch {batch_size}: {same} of {batch_size} greedy texts are the same in all ids")
        for kind, sampling in (("greedy", GREEDY), ("temperature 0.8, top-p 0.9", SAMPLED)):
            contestants = {
                "hornbook": partial(our_ids, prompts, sampling),
                f"transformers {transformers.__version__} Llama, sdpa": partial(their_ids, prompts, sampling),
            }
            rates = [bytes_per_second(device)]
            timings = alternate(contestants, flags.repetitions)
            rates.append(bytes_per_second(device))
            title = f"{kind}, batch {batch_size}, {length} + {num_tokens} tokens"
            print_table(title, timings, batch_size * num_tokens, "tokens", cpu=False)
            if kind == "greedy":
                greedy_seconds[batch_size] = statistics.median(timings["hornbook"].wall), rates

    read = sum(p.nbytes for name, p in ours.named_parameters() if name != "token_embeddings.weight")
    print(f"\na step reads {read / 1e6:.1f} MB of weights; the bound, measured before and after:")
    for batch_size, (seconds, rates) in greedy_seconds.items():
        for name in rates[0]:
            bound = statistics.mean(rate[name] for rate in rates) / read
            share = num_tokens / seconds / bound
            measured = " and ".join(f"{rate[name] / 1e9:.1f}" for rate in rates)
            print(
                f"  batch {batch_size}, by {name}: {bound:.0f} steps/s ({measured} GB/s); reached {share:.0%}"
            )


if __name__ == "__main__":
    main()
