"""Small models that Llama or Qwen3 of Hugging Face can hold."""

from dataclasses import replace

import torch

from hornbook.nn import TransformerConfig, TransformerLM

LLAMA = TransformerConfig(
    vocab_size=13, context_length=8, num_layers=2, d_model=16, num_heads=4, num_kv_heads=2, d_ff=12
)
QWEN3 = replace(LLAMA, qk_norm=True)
SHAPES = {
    "llama": LLAMA,
    "qwen3": QWEN3,
    "heads of their own": replace(LLAMA, num_kv_heads=None),
    "wide heads": replace(QWEN3, head_dim=6),
    "tied": replace(QWEN3, tied_embeddings=True, rope_theta=500.0, norm_eps=1e-3),
}


def random_model(config: TransformerConfig, dtype: torch.dtype = torch.float32) -> TransformerLM:
    model = TransformerLM(config, dtype=dtype).requires_grad_(False)
    for parameter in model.parameters():
        parameter.uniform_(-1, 1)
    return model
