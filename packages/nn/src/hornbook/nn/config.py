"""The shape of a model as a frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ._checks import (
    check_choice,
    check_flag,
    check_head_dim,
    check_kv_heads,
    check_positive_finite,
    check_positive_int,
    check_rotary_head_dim,
)
from .rope_scaling import RopeScaling

Norm = Literal["pre", "post", "none"]
Position = Literal["rope", "none"]
FeedForward = Literal["swiglu", "silu", "relu2"]
Attention = Literal["auto", "explicit", "fused"]

_SIZES = ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff")
_FLAGS = ("tied_embeddings", "qk_norm", "zero_init_outputs", "value_residual", "embedding_shortcut")
_CHOICES = {"norm": Norm, "position": Position, "ffn": FeedForward, "attention": Attention}


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """Shape of a decoder-only Transformer; a variant of it is a `dataclasses.replace`.

    Attributes:
        vocab_size: Number of token ids.
        context_length: Longest input, in tokens.
        num_layers: Number of blocks.
        d_model: Width of the residual stream.
        num_heads: Attention heads.
        d_ff: Inner width of the feed-forward part.
        rope_theta: Base of the rotary wavelengths; unused where `position` is "none".
        rope_scaling: Slows rotations down for long contexts, as in Llama 3.1; None: no.
        norm: "pre" is x + f(norm(x)) and a final norm; "post" is norm(x + f(x)), which leaves the stream
            normalized, so there is no final norm; "none" has no RMSNorm at all.
        position: "rope" rotates queries and keys; "none" gives the model no positions.
        ffn: "swiglu" has three matrices, "silu" and "relu2" two.
        tied_embeddings: Whether the head uses the matrix of the embedding.
        norm_eps: Added to the mean square in every RMSNorm.
        num_kv_heads: Heads of keys and values; each serves num_heads / num_kv_heads heads of queries
            (grouped-query attention, Ainslie et al., 2023). None: as many as `num_heads`.
        head_dim: Features of a head, as many as one likes (in Qwen3 128, whatever its d_model). None: d_model
            / num_heads, as in Vaswani et al., 2017.
        qk_norm: Whether an RMSNorm over the features of a head goes over queries and keys, before RoPE
            (Henry et al., 2020, with RMSNorm for their l2 norm, as in Qwen3).
        logit_softcap: Bends every logit to cap * tanh(logit / cap), within -cap and cap (Gemma 2); None: no.
        zero_init_outputs: Whether what writes into the residual stream, `output_proj` and `w2`, begins at
            zero, so that every pre-norm block begins as the identity (as in Fixup, Zhang et al., 2019).
        value_residual: Whether each layer's values are mixed with those of the first layer, by two learned
            scalars a layer (Zhou et al., 2024).
        embedding_shortcut: Whether each block sees the stream mixed with the embedding, by two learned
            scalars a layer (modded-nanogpt, 2024).
        attention: "explicit" is softmax(Q K^T / sqrt(d_k)) V, written out; "fused" is torch's kernel of the
            same function; "auto" takes the one that is faster on the device.

    Raises:
        TypeError: If a size is not an int, a number not a number or a switch not a bool.
        ValueError: If a value is out of range, a variant unknown, `d_model` not a multiple of `num_heads` and
            no `head_dim` given, `num_heads` not a multiple of `num_kv_heads`, or the width of a head odd
            where RoPE needs pairs.

    Example:
        >>> from dataclasses import replace
        >>> base = TransformerConfig(
        ...     vocab_size=10_000, context_length=256, num_layers=4, d_model=512, num_heads=16, d_ff=1344
        ... )
        >>> base.head_width, replace(base, head_dim=64).head_width
        (32, 64)
        >>> replace(base, norm="post").norm
        'post'
    """

    vocab_size: int
    context_length: int
    num_layers: int
    d_model: int
    num_heads: int
    d_ff: int
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm: Norm = "pre"
    position: Position = "rope"
    ffn: FeedForward = "swiglu"
    tied_embeddings: bool = False
    norm_eps: float = 1e-5
    num_kv_heads: int | None = None
    head_dim: int | None = None
    qk_norm: bool = False
    logit_softcap: float | None = None
    zero_init_outputs: bool = False
    value_residual: bool = False
    embedding_shortcut: bool = False
    attention: Attention = "auto"

    def __post_init__(self) -> None:
        """Refuse what no model could be built from."""
        for name in _SIZES:
            check_positive_int(name, getattr(self, name))
        for name in ("rope_theta", "norm_eps"):
            check_positive_finite(name, getattr(self, name))
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, RopeScaling):
            msg = f"rope_scaling must be a RopeScaling or None, got {self.rope_scaling!r}"
            raise TypeError(msg)
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        check_head_dim(self.d_model, self.num_heads, self.head_dim)
        if self.num_kv_heads is not None:
            check_kv_heads(self.num_heads, self.num_kv_heads)
        if self.logit_softcap is not None:
            check_positive_finite("logit_softcap", self.logit_softcap)
        if self.position == "rope":
            check_rotary_head_dim(self.head_width)

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> "TransformerConfig":
        """Return what `dataclasses.asdict` took apart, as a file of JSON holds it.

        Args:
            values: One for each field; what is left out has its default.

        Raises:
            TypeError: If a field is unknown or missing, or as for the config itself.
            ValueError: As for the config itself.

        Example:
            >>> from dataclasses import asdict
            >>> config = TransformerConfig(
            ...     vocab_size=9, context_length=8, num_layers=1, d_model=4, num_heads=1, d_ff=8,
            ...     rope_scaling=RopeScaling(factor=8.0, original_context_length=4),
            ... )
            >>> TransformerConfig.from_fields(asdict(config)) == config
            True
        """
        scaling = values.get("rope_scaling")
        if isinstance(scaling, Mapping):
            values = {**values, "rope_scaling": RopeScaling(**scaling)}
        return cls(**values)

    @property
    def head_width(self) -> int:
        """Features of an attention head, given or not."""
        return self.d_model // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads
