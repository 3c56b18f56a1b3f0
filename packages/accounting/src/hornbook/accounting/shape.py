"""What the formulas need to know of a Transformer, and nothing else of it."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

from ._checks import require_choice, require_positive_int

Norm: TypeAlias = Literal["pre", "post", "none"]
"""Where a block normalizes: before each sublayer (and once after the last block), after each, or nowhere."""

Position: TypeAlias = Literal["rope", "none"]
"""How attention learns of order; neither has parameters or matrix multiplies."""

FeedForward: TypeAlias = Literal["swiglu", "silu"]
"""W2 (SiLU(W1 x) * W3 x), three matrices, or W2 SiLU(W1 x), two."""


class TransformerShape(Protocol):
    """Anything with these attributes: a model's own config, or a `Shape`.

    A decoder-only Transformer without biases, as in Stanford CS336, assignment 1 (2025): token embedding,
    `num_layers` blocks of multi-head attention and feed-forward layer, output head.
    """

    @property
    def vocab_size(self) -> int:
        """Number of token ids, V."""
        ...

    @property
    def context_length(self) -> int:
        """Longest sequence, in tokens."""
        ...

    @property
    def num_layers(self) -> int:
        """Number of blocks, L."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the residual stream, d."""
        ...

    @property
    def num_heads(self) -> int:
        """Attention heads per block, h, each of width k = d / h."""
        ...

    @property
    def d_ff(self) -> int:
        """Width inside the feed-forward layer, f."""
        ...

    @property
    def norm(self) -> Norm:
        """Where a block normalizes."""
        ...

    @property
    def position(self) -> Position:
        """How attention learns of order."""
        ...

    @property
    def ffn(self) -> FeedForward:
        """Kind of feed-forward layer."""
        ...

    @property
    def tied_embeddings(self) -> bool:
        """Whether the output head is the token embedding's matrix."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A `TransformerShape` for questions before there is a model; a variant is a `dataclasses.replace`.

    Args:
        vocab_size: Number of token ids, V.
        context_length: Longest sequence, in tokens.
        num_layers: Number of blocks, L.
        d_model: Width of the residual stream, d.
        num_heads: Attention heads per block, h; divides `d_model`.
        d_ff: Width inside the feed-forward layer, f.
        norm: Where a block normalizes: "pre", "post" or "none".
        position: "rope" or "none"; costs nothing that is counted here. RoPE needs an even width per head.
        ffn: "swiglu" (three matrices) or "silu" (two).
        tied_embeddings: Whether the output head is the token embedding's matrix.

    Raises:
        ValueError: If a size is not positive, the heads do not divide `d_model`, or a choice is unknown.
        TypeError: If a size is not an int or `tied_embeddings` not a bool.

    Example:
        >>> from dataclasses import replace
        >>> from hornbook.accounting import TINYSTORIES, num_parameters
        >>> num_parameters(TINYSTORIES), num_parameters(replace(TINYSTORIES, tied_embeddings=True))
        (22696448, 17576448)
    """

    vocab_size: int
    context_length: int
    num_layers: int
    d_model: int
    num_heads: int
    d_ff: int
    norm: Norm = "pre"
    position: Position = "rope"
    ffn: FeedForward = "swiglu"
    tied_embeddings: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff"):
            require_positive_int(name, getattr(self, name))
        require_choice("norm", self.norm, get_args(Norm))
        require_choice("position", self.position, get_args(Position))
        require_choice("ffn", self.ffn, get_args(FeedForward))
        if not isinstance(self.tied_embeddings, bool):
            msg = f"tied_embeddings must be True or False, got {self.tied_embeddings!r}"
            raise TypeError(msg)
        if self.d_model % self.num_heads != 0:
            msg = f"d_model must be a multiple of num_heads, got {self.d_model} and {self.num_heads}"
            raise ValueError(msg)
        if self.position == "rope" and self.d_model // self.num_heads % 2 != 0:
            msg = (
                f"RoPE rotates pairs, so d_model / num_heads must be even, got {self.d_model} / "
                f"{self.num_heads} = {self.d_model // self.num_heads}; position='none' does without"
            )
            raise ValueError(msg)


def checked(shape: TransformerShape) -> Shape:
    """The same shape as a `Shape`, which refuses what the formulas would silently get wrong."""
    return Shape(
        vocab_size=shape.vocab_size,
        context_length=shape.context_length,
        num_layers=shape.num_layers,
        d_model=shape.d_model,
        num_heads=shape.num_heads,
        d_ff=shape.d_ff,
        norm=shape.norm,
        position=shape.position,
        ffn=shape.ffn,
        tied_embeddings=shape.tied_embeddings,
    )
