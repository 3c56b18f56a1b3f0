"""Which architecture of others a model is, and how its weights are called and laid out there.

Two architectures compute what a model here can: Llama (Touvron et al., 2023), and Qwen3 (2025), which is
Llama with `qk_norm`. Both rotate the halves of a head, feature k with feature k + head_dim / 2, where
hornbook, as Llama's authors, rotates neighbours, 2k and 2k + 1. A score is a sum over features, so it is the
same after those of queries and keys have changed places alike: the rows of q_proj and k_proj within each
head, and the gains of q_norm and k_norm.
"""

import re
from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..config import TransformerConfig

Architecture = Literal["llama", "qwen3"]

_SAME = {
    "norm": "pre",
    "position": "rope",
    "ffn": "swiglu",
    "logit_softcap": None,
    "value_residual": False,
    "embedding_shortcut": False,
}
HUGGING_FACE = {
    "token_embeddings": "model.embed_tokens",
    "ln_final": "model.norm",
    "lm_head": "lm_head",
    "layers": "model.layers",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "ffn.w1": "mlp.gate_proj",
    "ffn.w2": "mlp.down_proj",
    "ffn.w3": "mlp.up_proj",
}
GGUF = {
    "token_embeddings": "token_embd",
    "ln_final": "output_norm",
    "lm_head": "output",
    "layers": "blk",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
    "attn.q_proj": "attn_q",
    "attn.k_proj": "attn_k",
    "attn.v_proj": "attn_v",
    "attn.output_proj": "attn_output",
    "attn.q_norm": "attn_q_norm",
    "attn.k_norm": "attn_k_norm",
    "ffn.w1": "ffn_gate",
    "ffn.w2": "ffn_down",
    "ffn.w3": "ffn_up",
}


def architecture_of(config: TransformerConfig) -> Architecture:
    """Name the architecture that computes what this config does.

    Raises:
        ValueError: If there is none; the field and its value are named.

    Example:
        >>> from dataclasses import replace
        >>> llama = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=2, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> architecture_of(llama), architecture_of(replace(llama, qk_norm=True))
        ('llama', 'qwen3')
    """
    for name, needed in _SAME.items():
        if (value := getattr(config, name)) != needed:
            msg = (
                f"{name} must be {needed!r} in this format, got {value!r}: neither Llama nor Qwen3 has such a"
                " model; save_model keeps it as it is"
            )
            raise ValueError(msg)
    return "qwen3" if config.qk_norm else "llama"


def rename(name: str, names: dict[str, str]) -> str:
    """Return what a weight is called elsewhere.

    Example:
        >>> rename("layers.7.attn.output_proj.weight", HUGGING_FACE)
        'model.layers.7.self_attn.o_proj.weight'
        >>> rename("layers.7.attn.output_proj.weight", GGUF)
        'blk.7.attn_output.weight'
    """
    match = re.fullmatch(r"(?:layers\.(\d+)\.)?(.+)\.weight", name)
    assert match is not None
    layer = "" if match[1] is None else f"{names['layers']}.{match[1]}."
    return f"{layer}{names[match[2]]}.weight"


def to_halves(name: str, weight: Float[Tensor, "rows *columns"], config: TransformerConfig) -> Tensor:
    """Lay out a weight for a rotation of halves; other weights than those of queries and keys stay.

    Example:
        >>> import torch
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=1, d_model=8, num_heads=2, d_ff=96
        ... )
        >>> to_halves("layers.0.attn.q_proj.weight", torch.arange(8.0), config).int().tolist()
        [0, 2, 1, 3, 4, 6, 5, 7]
    """
    num_heads = _num_rotated_heads(name, config)
    if num_heads is None:
        return weight
    return rearrange(weight, "(heads pairs two) ... -> (heads two pairs) ...", heads=num_heads, two=2)


def to_neighbours(name: str, weight: Float[Tensor, "rows *columns"], config: TransformerConfig) -> Tensor:
    """Undo `to_halves`."""
    num_heads = _num_rotated_heads(name, config)
    if num_heads is None:
        return weight
    return rearrange(weight, "(heads two pairs) ... -> (heads pairs two) ...", heads=num_heads, two=2)


def _num_rotated_heads(name: str, config: TransformerConfig) -> int | None:
    part = name.removesuffix(".weight").rpartition(".")[2]
    # The gain of a norm is one head, that of all.
    return {"q_proj": config.num_heads, "k_proj": config.kv_heads, "q_norm": 1, "k_norm": 1}.get(part)
