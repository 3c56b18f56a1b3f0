"""Transformer layers and a language model, from scratch on torch tensors.

Of `torch.nn` only `Parameter`, `Module` and `ModuleList` are used: what a layer computes is written out here.
"""

from .attention import CausalSelfAttention
from .config import TransformerConfig
from .embedding import Embedding
from .feed_forward import SiLUFeedForward, SwiGLU
from .functional import causal_mask, cross_entropy, scaled_dot_product_attention, silu, softmax
from .generate import generate, generate_iter
from .linear import Linear
from .norm import RMSNorm
from .rope import RotaryEmbedding
from .sampling import next_token_probabilities, sample_token
from .transformer import TransformerBlock, TransformerLM, post_norm, pre_norm

__all__ = [
    "CausalSelfAttention",
    "Embedding",
    "Linear",
    "RMSNorm",
    "RotaryEmbedding",
    "SiLUFeedForward",
    "SwiGLU",
    "TransformerBlock",
    "TransformerConfig",
    "TransformerLM",
    "causal_mask",
    "cross_entropy",
    "generate",
    "generate_iter",
    "next_token_probabilities",
    "post_norm",
    "pre_norm",
    "sample_token",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
