"""Shapes that people ask about: those of Stanford CS336, assignment 1 (2025), GPT-2's and Llama's."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from .shape import Shape


def _gpt2(num_layers: int, d_model: int, num_heads: int) -> Shape:
    # The widths of GPT-2 on the assignment's architecture: SwiGLU with d_ff = 4 d_model, RoPE, RMSNorm,
    # untied.
    return Shape(
        vocab_size=50_257,
        context_length=1_024,
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        d_ff=4 * d_model,
    )


def _released(shape: Shape) -> Shape:
    # What OpenAI released (Radford et al., 2019): two matrices with GELU, biases and LayerNorms, learned
    # positions, head tied to the embedding.
    return replace(shape, ffn="gelu", position="learned", biases=True, tied_embeddings=True)


def _baseline(vocab_size: int) -> Shape:
    return Shape(
        vocab_size=vocab_size, context_length=256, num_layers=4, d_model=512, num_heads=16, d_ff=1_344
    )


GPT2_SMALL = _gpt2(num_layers=12, d_model=768, num_heads=12)
GPT2_MEDIUM = _gpt2(num_layers=24, d_model=1_024, num_heads=16)
GPT2_LARGE = _gpt2(num_layers=36, d_model=1_280, num_heads=20)
GPT2_XL = _gpt2(num_layers=48, d_model=1_600, num_heads=25)
TINYSTORIES = _baseline(vocab_size=10_000)
OPENWEBTEXT = _baseline(vocab_size=32_000)
# Grattafiori et al., "The Llama 3 Herd of Models" (2024), table 3; pretrained with 8,192 tokens of context.
LLAMA3_8B = Shape(
    vocab_size=128_256,
    context_length=8_192,
    num_layers=32,
    d_model=4_096,
    num_heads=32,
    num_kv_heads=8,
    d_ff=14_336,
)

PRESETS: Mapping[str, Shape] = MappingProxyType(
    {
        "gpt2-small": GPT2_SMALL,
        "gpt2-medium": GPT2_MEDIUM,
        "gpt2-large": GPT2_LARGE,
        "gpt2-xl": GPT2_XL,
        "released-gpt2-small": _released(GPT2_SMALL),
        "released-gpt2-medium": _released(GPT2_MEDIUM),
        "released-gpt2-large": _released(GPT2_LARGE),
        "released-gpt2-xl": _released(GPT2_XL),
        "tinystories": TINYSTORIES,
        "openwebtext": OPENWEBTEXT,
        "llama3-8b": LLAMA3_8B,
    }
)
"""The presets by the names of the command line: GPT-2's are the widths on the assignment's architecture."""
