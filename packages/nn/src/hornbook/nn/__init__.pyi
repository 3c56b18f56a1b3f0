"""The public names, and where each is; `__init__.py` reads it, and type checkers."""

from .attention import CausalSelfAttention
from .attention_kernels import attention_kernel, causal_mask, explicit_attention, fused_attention
from .block import TransformerBlock, post_norm, pre_norm
from .cache import KVCache
from .config import TransformerConfig
from .embedding import Embedding
from .feed_forward import MLP, SwiGLU
from .formats import (
    GGUFVocabulary,
    load_huggingface,
    load_model,
    save_gguf,
    save_huggingface,
    save_model,
)
from .functional import scaled_dot_product_attention, silu, softcap, softmax, squared_relu
from .generation import Generation, generate, generate_batch
from .linear import Linear
from .loss import cross_entropy, linear_cross_entropy
from .next_token import draw_tokens, next_token_probabilities
from .norm import RMSNorm
from .rope import RotaryEmbedding
from .rope_scaling import RopeScaling
from .sampling import GREEDY, PLAIN, Sampling
from .shortcuts import LearnedMix
from .stop_strings import StopStrings
from .text_stream import IdDecoder, stream_text
from .transformer import TransformerLM

__all__ = [
    "GREEDY",
    "MLP",
    "PLAIN",
    "CausalSelfAttention",
    "Embedding",
    "GGUFVocabulary",
    "Generation",
    "IdDecoder",
    "KVCache",
    "LearnedMix",
    "Linear",
    "RMSNorm",
    "RopeScaling",
    "RotaryEmbedding",
    "Sampling",
    "StopStrings",
    "SwiGLU",
    "TransformerBlock",
    "TransformerConfig",
    "TransformerLM",
    "attention_kernel",
    "causal_mask",
    "cross_entropy",
    "draw_tokens",
    "explicit_attention",
    "fused_attention",
    "generate",
    "generate_batch",
    "linear_cross_entropy",
    "load_huggingface",
    "load_model",
    "next_token_probabilities",
    "post_norm",
    "pre_norm",
    "save_gguf",
    "save_huggingface",
    "save_model",
    "scaled_dot_product_attention",
    "silu",
    "softcap",
    "softmax",
    "squared_relu",
    "stream_text",
]
