"""What the formulas need to know of a Transformer, and nothing else of it."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

from ._checks import require_bool, require_choice, require_multiple, require_positive_int

Norm: TypeAlias = Literal["pre", "post", "none"]
"""Where a block normalizes: before each sublayer (and once after the last block), after each, or nowhere."""

Position: TypeAlias = Literal["rope", "none", "learned"]
"""How attention learns of order; "learned" is a table added to the embedding, as in GPT-2."""

FeedForward: TypeAlias = Literal["swiglu", "silu", "relu2", "gelu"]
"""W2 (SiLU(W1 x) * W3 x), three matrices; W2 act(W1 x) with another activation, two."""

_SIZES = ("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff")
_CHOICES = {"norm": Norm, "position": Position, "ffn": FeedForward}
_FLAGS = ("tied_embeddings", "qk_norm", "value_residual", "embedding_shortcut", "biases")


class TransformerShape(Protocol):
    """Anything with these attributes: a model's own config, or a `Shape`.

    A decoder-only Transformer without biases, as in Stanford CS336, assignment 1 (2025): token embedding,
    `num_layers` blocks of multi-head attention and feed-forward layer, output head. What has neither
    parameters nor matrix multiplies, such as a softcap of the logits or the initial values, has no attribute.
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
        """Heads of queries per block, h, each of width k."""
        ...

    @property
    def num_kv_heads(self) -> int | None:
        """Heads of keys and values per block, g, each of width k; None: as many as `num_heads`."""
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

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalized per head, by a gain of width k each."""
        ...

    @property
    def value_residual(self) -> bool:
        """Whether each layer but the first mixes its values with the first layer's, by two scalars."""
        ...

    @property
    def embedding_shortcut(self) -> bool:
        """Whether each layer mixes the residual stream with the embedding, by two scalars."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A `TransformerShape` for questions before there is a model; a variant is a `dataclasses.replace`.

    Args:
        vocab_size: Number of token ids, V.
        context_length: Longest sequence, in tokens.
        num_layers: Number of blocks, L.
        d_model: Width of the residual stream, d.
        num_heads: Heads of queries per block, h; divides `d_model`, unless `head_dim` is given.
        d_ff: Width inside the feed-forward layer, f.
        norm: Where a block normalizes: "pre", "post" or "none".
        position: "rope", "none" or "learned"; the last has a table of parameters, and none multiplies
            matrices. RoPE needs an even width per head.
        ffn: "swiglu" (three matrices), "silu", "relu2" or "gelu" (two).
        tied_embeddings: Whether the output head is the token embedding's matrix.
        num_kv_heads: Heads of keys and values per block, g; divides `num_heads`. None: as many (Ainslie et
            al., "GQA", 2023).
        qk_norm: Whether queries and keys are normalized per head, by a gain of width k each.
        value_residual: Whether each layer but the first mixes its values with the first's, by two scalars.
        embedding_shortcut: Whether each layer mixes the stream with the embedding, by two scalars.
        biases: Whether all matrices but the head and all norms (then LayerNorms) have biases, as in GPT-2.
            It has no matrix multiplies. A model's config need not have this attribute.
        head_dim: Width of a head, k; None: d / h. A model's config need not have this attribute.

    Raises:
        ValueError: If a size is not positive, the heads do not divide `d_model`, those of keys and values do
            not divide them, or a choice is unknown.
        TypeError: If a size is not an int or a switch not a bool.

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
    num_kv_heads: int | None = None
    qk_norm: bool = False
    value_residual: bool = False
    embedding_shortcut: bool = False
    biases: bool = False
    head_dim: int | None = None

    def __post_init__(self) -> None:
        for name in _SIZES:
            require_positive_int(name, getattr(self, name))
        for name, choices in _CHOICES.items():
            require_choice(name, getattr(self, name), get_args(choices))
        for name in _FLAGS:
            require_bool(name, getattr(self, name))
        if self.head_dim is not None:
            require_positive_int("head_dim", self.head_dim)
        else:
            require_multiple("d_model", self.d_model, "num_heads", self.num_heads)
        if self.num_kv_heads is not None:
            require_positive_int("num_kv_heads", self.num_kv_heads)
            require_multiple("num_heads", self.num_heads, "num_kv_heads", self.num_kv_heads)
        if self.position == "rope" and self.head_width % 2 != 0:
            rule, got = "head_dim", str(self.head_width)
            if self.head_dim is None:
                rule, got = "d_model / num_heads", f"{self.d_model} / {self.num_heads} = {got}"
            msg = f"RoPE rotates pairs, so {rule} must be even, got {got}; position='none' does without"
            raise ValueError(msg)

    @property
    def head_width(self) -> int:
        """Width of a head, k, given or not."""
        return self.d_model // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values per block, g."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads


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
        num_kv_heads=shape.num_kv_heads,
        qk_norm=shape.qk_norm,
        value_residual=shape.value_residual,
        embedding_shortcut=shape.embedding_shortcut,
        biases=getattr(shape, "biases", False),
        head_dim=getattr(shape, "head_dim", None),
    )
