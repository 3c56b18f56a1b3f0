"""The shapes that Stanford CS336, assignment 1 (2025) asks about or trains."""

from collections.abc import Mapping
from types import MappingProxyType

from .shape import Shape


def _gpt2(num_layers: int, d_model: int, num_heads: int) -> Shape:
    # The widths of GPT-2 on the assignment's architecture: SwiGLU with d_ff = 4 d_model, RoPE, RMSNorm,
    # untied. The released GPT-2 (two matrices, biases, learned positions, tied) is smaller: XL has
    # 1,557,611,200.
    return Shape(
        vocab_size=50_257,
        context_length=1_024,
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        d_ff=4 * d_model,
    )


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

PRESETS: Mapping[str, Shape] = MappingProxyType(
    {
        "gpt2-small": GPT2_SMALL,
        "gpt2-medium": GPT2_MEDIUM,
        "gpt2-large": GPT2_LARGE,
        "gpt2-xl": GPT2_XL,
        "tinystories": TINYSTORIES,
        "openwebtext": OPENWEBTEXT,
    }
)
"""The presets by the names of the command line."""
