"""A training step side by side with transformers' Llama of the same shape, and the share of a matrix product.

uv run --group peers benchmarks/bench_train_step.py [--model demo|tinystories] [--compile]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from torch import Tensor

from common import alternate, print_machine, print_table
from hornbook.accounting import training_flops
from hornbook.nn import TransformerLM, cross_entropy
from hornbook.optim import AdamW, clip_grad_norm_, decay_groups

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from recipes.device import matmul_flops_per_second
from recipes.experiment import demo, tinystories_model

SHAPES = {"demo": demo().model, "tinystories": tinystories_model()}


def step_of(
    model: torch.nn.Module, loss: Callable[[Tensor, Tensor], Tensor], tokens: Tensor
) -> Callable[[], float]:
    """Return a whole update: forward, backward, clipping, AdamW; the same optimizer for every model."""
    optimizer = AdamW(decay_groups(model, 0.1), 1e-4)

    def step() -> float:
        batch_loss = loss(tokens[:, :-1], tokens[:, 1:])
        batch_loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(batch_loss.detach())

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(SHAPES), default="demo")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    flags = parser.parse_args()
    shape = SHAPES[flags.model]
    device = torch.device(flags.device)
    print_machine()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device}, fp32; {shape}")

    tokens = torch.randint(shape.vocab_size, (flags.batch_size, shape.context_length + 1), device=device)
    ours = TransformerLM(shape, device=device)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.d_model,
            intermediate_size=shape.d_ff,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            max_position_embeddings=shape.context_length,
            tie_word_embeddings=False,
            attn_implementation="sdpa",  # type: ignore[call-arg]
        )
    )
    theirs.to(device)  # type: ignore[arg-type]

    def our_loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(ours(inputs), targets)

    def their_loss(inputs: Tensor, targets: Tensor) -> Tensor:
        logits = theirs(input_ids=inputs, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    if flags.compile:
        our_loss, their_loss = (torch.compile(loss, dynamic=False) for loss in (our_loss, their_loss))
    steps = {
        "hornbook": step_of(ours, our_loss, tokens),
        f"transformers {transformers.__version__} Llama, sdpa": step_of(theirs, their_loss, tokens),
    }
    num_tokens = flags.batch_size * shape.context_length
    matmul = [
        matmul_flops_per_second(
            device, "fp32", rows=num_tokens, inner=shape.d_model, columns=shape.d_ff, seconds=1
        )
    ]
    timings = alternate(steps, flags.repetitions)
    matmul.append(
        matmul_flops_per_second(
            device, "fp32", rows=num_tokens, inner=shape.d_model, columns=shape.d_ff, seconds=1
        )
    )
    kind = "compiled" if flags.compile else "eager"
    print_table(f"training step, {kind}", timings, num_tokens, "tokens", cpu=False)
    flops = training_flops(shape, batch_size=flags.batch_size)
    seconds = sorted(timings["hornbook"].wall)[flags.repetitions // 2]
    print(
        f"\nmatrix product before and after: {matmul[0] / 1e9:.0f} and {matmul[1] / 1e9:.0f} GFLOP/s; "
        f"hornbook reaches {flops / seconds / 1e9:.0f}, {flops / seconds / (sum(matmul) / 2):.0%} of it"
    )


if __name__ == "__main__":
    main()
