"""Transformer layers and a language model, from scratch on torch tensors.

Of `torch.nn` only `Parameter`, `Module` and `ModuleList` are used: what a layer computes is written out here.
"""

from .attention import CausalSelfAttention
from .attention_kernels import attention_kernel, causal_mask, explicit_attention, fused_attention
from .block import TransformerBlock, post_norm, pre_norm
from .cache import KVCache
from .config import TransformerConfig
from .embedding import Embedding
from .feed_forward import MLP, SwiGLU
from .functional import cross_entropy, scaled_dot_product_attention, silu, softcap, softmax, squared_relu
from .generate import generate, generate_iter
from .linear import Linear
from .norm import RMSNorm
from .rope import RotaryEmbedding
from .sampling import next_token_probabilities, sample_token
from .shortcuts import LearnedMix
from .transformer import TransformerLM

__all__ = [
    "MLP",
    "CausalSelfAttention",
    "Embedding",
    "KVCache",
    "LearnedMix",
    "Linear",
    "RMSNorm",
    "RotaryEmbedding",
    "SwiGLU",
    "TransformerBlock",
    "TransformerConfig",
    "TransformerLM",
    "attention_kernel",
    "causal_mask",
    "cross_entropy",
    "explicit_attention",
    "fused_attention",
    "generate",
    "generate_iter",
    "next_token_probabilities",
    "post_norm",
    "pre_norm",
    "sample_token",
    "scaled_dot_product_attention",
    "silu",
    "softcap",
    "softmax",
    "squared_relu",
]
