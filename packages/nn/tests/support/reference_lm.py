"""The language model in the terms of torch.nn.functional, from a state dict alone, and configs to try."""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import torch
import torch.nn.functional as reference
from einops import rearrange, repeat
from hypothesis import strategies as st
from torch import Tensor

from hornbook.nn import RopeScaling, TransformerConfig
from hornbook.nn.config import Attention, FeedForward, Norm, Position

CONFIG = TransformerConfig(vocab_size=50, context_length=8, num_layers=2, d_model=12, num_heads=3, d_ff=20)
EVERYTHING = replace(
    CONFIG,
    num_layers=3,
    d_model=24,
    num_heads=6,
    num_kv_heads=2,
    head_dim=6,
    ffn="relu2",
    tied_embeddings=True,
    qk_norm=True,
    logit_softcap=3.0,
    value_residual=True,
    embedding_shortcut=True,
)
VARIANTS = {
    **{
        f"{norm}-{position}-{ffn}": replace(CONFIG, norm=norm, position=position, ffn=ffn)
        for norm in get_args(Norm)
        for position in get_args(Position)
        for ffn in get_args(FeedForward)
    },
    "tied": replace(CONFIG, tied_embeddings=True),
    "grouped queries": replace(CONFIG, num_heads=6, num_kv_heads=2),
    "one head of keys": replace(CONFIG, num_heads=6, num_kv_heads=1),
    "wide heads": replace(CONFIG, head_dim=10),
    "narrow heads": replace(CONFIG, d_model=13, head_dim=2),
    "qk-norm": replace(CONFIG, qk_norm=True),
    "softcap": replace(CONFIG, logit_softcap=2.0),
    "value residual": replace(CONFIG, value_residual=True, num_layers=3),
    "embedding shortcut": replace(CONFIG, embedding_shortcut=True),
    "explicit attention": replace(CONFIG, attention="explicit"),
    "fused attention": replace(CONFIG, attention="fused"),
    "everything": EVERYTHING,
    "everything, explicit": replace(EVERYTHING, attention="explicit", norm="post", position="none"),
}


@st.composite
def configs(draw: st.DrawFn) -> TransformerConfig:
    """Any model that is small."""
    num_kv_heads = draw(st.integers(1, 3))
    num_heads = num_kv_heads * draw(st.integers(1, 3))
    head_dim = draw(st.sampled_from([None, 2, 6]))
    width = num_heads * 2 * draw(st.integers(1, 4)) if head_dim is None else draw(st.integers(1, 40))
    return TransformerConfig(
        vocab_size=draw(st.integers(1, 50)),
        context_length=draw(st.integers(2, 12)),
        num_layers=draw(st.integers(1, 3)),
        d_model=width,
        num_heads=num_heads,
        num_kv_heads=draw(st.sampled_from([num_kv_heads, None])),
        head_dim=head_dim,
        d_ff=draw(st.integers(1, 40)),
        rope_scaling=draw(st.sampled_from([None, RopeScaling(factor=4.0, original_context_length=3)])),
        norm=draw(st.sampled_from(get_args(Norm))),
        position=draw(st.sampled_from(get_args(Position))),
        ffn=draw(st.sampled_from(get_args(FeedForward))),
        tied_embeddings=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        logit_softcap=draw(st.sampled_from([None, 5.0])),
        zero_init_outputs=draw(st.booleans()),
        value_residual=draw(st.booleans()),
        embedding_shortcut=draw(st.booleans()),
        attention=draw(st.sampled_from(get_args(Attention))),
    )


def parameter_names(config: TransformerConfig) -> set[str]:
    """Every name of the state dict, written out."""
    names = {"token_embeddings.weight", "lm_head.weight"}
    for i in range(config.num_layers):
        names |= {f"layers.{i}.attn.{p}_proj.weight" for p in ("q", "k", "v", "output")}
        names |= {f"layers.{i}.ffn.{w}.weight" for w in ("w1", "w2")}
        if config.ffn == "swiglu":
            names.add(f"layers.{i}.ffn.w3.weight")
        if config.norm != "none":
            names |= {f"layers.{i}.ln1.weight", f"layers.{i}.ln2.weight"}
        if config.qk_norm:
            names |= {f"layers.{i}.attn.q_norm.weight", f"layers.{i}.attn.k_norm.weight"}
        if config.value_residual and i > 0:
            names.add(f"layers.{i}.attn.value_residual.weight")
        if config.embedding_shortcut:
            names.add(f"layers.{i}.embedding_shortcut.weight")
    if config.norm == "pre":
        names.add("ln_final.weight")
    return names


def reference_logits(config: TransformerConfig, w: Mapping[str, Tensor], token_ids: Tensor) -> Tensor:
    """What the model should compute, written by other hands' functions; for (batch, seq) ids."""
    seq = token_ids.shape[-1]
    first_value = None

    def norm(x: Tensor, name: str) -> Tensor:
        return reference.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], config.norm_eps)

    def rotate(x: Tensor) -> Tensor:
        if config.position == "none":
            return x
        pairs = torch.view_as_complex(rearrange(x, "... (pairs two) -> ... pairs two", two=2).contiguous())
        exponents = torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width
        frequencies = config.rope_theta**-exponents
        if (scaling := config.rope_scaling) is not None:  # as Llama 3.1's authors write it, by wavelengths
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            turns = scaling.original_context_length / (2 * torch.pi / frequencies)
            smooth = ((turns - low) / (high - low)).clamp(0, 1)
            frequencies = (1 - smooth) * frequencies / scaling.factor + smooth * frequencies
        angles = torch.outer(torch.arange(seq, dtype=torch.float64), frequencies)
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)

    def attention(x: Tensor, name: str) -> Tensor:
        nonlocal first_value
        query, key, value = (
            rearrange(
                reference.linear(x, w[f"{name}.{p}_proj.weight"]), "b s (h d) -> b h s d", d=config.head_width
            )
            for p in "qkv"
        )
        if config.qk_norm:
            query, key = norm(query, f"{name}.q_norm"), norm(key, f"{name}.k_norm")
        if first_value is None:
            first_value = value
        elif config.value_residual:
            own, first = w[f"{name}.value_residual.weight"]
            value = own * value + first * first_value
        query, key = rotate(query), rotate(key)
        group = config.num_heads // config.kv_heads
        key, value = (repeat(x, "b kv s d -> b (kv group) s d", group=group) for x in (key, value))
        out = reference.scaled_dot_product_attention(query, key, value, is_causal=True)
        return reference.linear(out.transpose(1, 2).flatten(-2), w[f"{name}.output_proj.weight"])

    def feed_forward(x: Tensor, name: str) -> Tensor:
        hidden = reference.linear(x, w[f"{name}.w1.weight"])
        if config.ffn == "relu2":
            hidden = reference.relu(hidden) ** 2
        else:
            hidden = reference.silu(hidden)
        if config.ffn == "swiglu":
            hidden = hidden * reference.linear(x, w[f"{name}.w3.weight"])
        return reference.linear(hidden, w[f"{name}.w2.weight"])

    x = embedding = reference.embedding(token_ids, w["token_embeddings.weight"])
    for i in range(config.num_layers):
        if config.embedding_shortcut:
            stream, start = w[f"layers.{i}.embedding_shortcut.weight"]
            x = stream * x + start * embedding
        for sublayer, part, ln in ((attention, "attn", "ln1"), (feed_forward, "ffn", "ln2")):
            name, ln_name = f"layers.{i}.{part}", f"layers.{i}.{ln}"
            if config.norm == "pre":
                x = x + sublayer(norm(x, ln_name), name)
            elif config.norm == "post":
                x = norm(x + sublayer(x, name), ln_name)
            else:
                x = x + sublayer(x, name)
    if config.norm == "pre":
        x = norm(x, "ln_final")
    logits = reference.linear(x, w["lm_head.weight"])
    cap = config.logit_softcap
    return logits if cap is None else cap * (logits / cap).tanh()
