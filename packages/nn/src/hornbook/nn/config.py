"""The shape of a model as a frozen value."""

from dataclasses import dataclass
from typing import Literal, get_args

from ._checks import check_heads, check_positive_finite, check_positive_int, check_rotary_head_dim

Norm = Literal["pre", "post", "none"]
Position = Literal["rope", "none"]
FeedForward = Literal["swiglu", "silu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """Shape of a decoder-only Transformer; a variant of it is a `dataclasses.replace`.

    Attributes:
        vocab_size: Number of token ids.
        context_length: Longest input, in tokens.
        num_layers: Number of blocks.
        d_model: Width of the residual stream.
        num_heads: Attention heads; each has d_model / num_heads features.
        d_ff: Inner width of the feed-forward part.
        rope_theta: Base of the rotary wavelengths; unused where `position` is "none".
        norm: "pre" is x + f(norm(x)) and a final norm; "post" is norm(x + f(x)), which leaves the stream
            normalized, so there is no final norm; "none" has no RMSNorm at all.
        position: "rope" rotates queries and keys; "none" gives the model no positions.
        ffn: "swiglu" has three matrices, "silu" two.
        tied_embeddings: Whether the head uses the matrix of the embedding.
        norm_eps: Added to the mean square in every RMSNorm.

    Raises:
        TypeError: If a size is not an int, a number not a number or a switch not a bool.
        ValueError: If a value is out of range, a variant unknown, `d_model` not a multiple of `num_heads`, or
            the width of a head odd where RoPE needs pairs.

    Example:
        >>> from dataclasses import replace
        >>> base = TransformerConfig(
        ...     vocab_size=10_000, context_length=256, num_layers=4, d_model=512, num_heads=16, d_ff=1344
        ... )
        >>> base.head_dim
        32
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
    norm: Norm = "pre"
    position: Position = "rope"
    ffn: FeedForward = "swiglu"
    tied_embeddings: bool = False
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what no model could be built from."""
        for name in ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff"):
            check_positive_int(name, getattr(self, name))
        for name in ("rope_theta", "norm_eps"):
            check_positive_finite(name, getattr(self, name))
        for name, allowed in (("norm", Norm), ("position", Position), ("ffn", FeedForward)):
            if getattr(self, name) not in get_args(allowed):
                msg = f"{name} must be one of {get_args(allowed)}, got {getattr(self, name)!r}"
                raise ValueError(msg)
        if not isinstance(self.tied_embeddings, bool):
            msg = f"tied_embeddings must be True or False, got {self.tied_embeddings!r}"
            raise TypeError(msg)
        check_heads(self.d_model, self.num_heads)
        if self.position == "rope":
            check_rotary_head_dim(self.head_dim)

    @property
    def head_dim(self) -> int:
        """Features per attention head."""
        return self.d_model // self.num_heads
