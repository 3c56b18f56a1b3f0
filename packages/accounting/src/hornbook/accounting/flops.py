"""How many floating-point operations, and where they go.

The convention, that of torch's FlopCounterMode: matrix multiplies alone are counted, a multiplication of
(m, n) by (n, p) as 2·m·n·p, one multiply and one add each. The embedding is a look-up and costs nothing;
norms, softmax, activations, RoPE, learned mixes and residual additions are left out. Attention is naive: all
S² scores are computed, those that causality masks too, so nothing is halved.
"""

from dataclasses import dataclass

from ._checks import require_positive_int
from .shape import Shape, TransformerShape, checked


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One kind of matrix multiply in the whole model."""

    operation: str
    """What is multiplied."""

    shapes: str
    """The factors in one layer, in symbols: T = B·S tokens, S sequence, d d_model, h heads of queries, g of
    keys and values, k = d/h, f d_ff, V vocab."""

    formula: str
    """The FLOPs in these symbols, B batch_size and L num_layers."""

    flops: int
    """FLOPs in the whole model."""

    share: float
    """Part of the total, between 0 and 1."""


def forward_ledger(
    shape: TransformerShape, *, batch_size: int = 1, sequence_length: int | None = None
) -> tuple[OperationRow, ...]:
    """Every matrix multiply of one forward pass, in its order.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        sequence_length: Tokens in each, S; the context length if left out, and no more than it.

    Raises:
        ValueError: If the shape is impossible, a number is not positive or the sequence too long.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> for row in forward_ledger(GPT2_XL)[:2]:
        ...     print(row.operation, "|", row.shapes, "|", row.formula, "|", row.flops, f"{row.share:.2%}")
        Q projection | (T, d)(d, d) | 2·L·T·d² | 251658240000 5.58%
        K, V projections | 2 (T, d)(d, g·k) | 4·L·T·d·g·k | 503316480000 11.15%
    """
    shape = checked(shape)
    require_positive_int("batch_size", batch_size)
    seq = _checked_sequence_length(shape, sequence_length)
    tokens = batch_size * seq
    vocab, layers, d, f = shape.vocab_size, shape.num_layers, shape.d_model, shape.d_ff
    g, k = shape.kv_heads, shape.head_dim
    # Grouped or not: every head of queries has scores, and several share keys and values.
    attention = 2 * layers * batch_size * seq**2 * d
    if shape.ffn == "swiglu":
        up = ("feed-forward W1, W3", "2 (T, d)(d, f)", "4·L·T·d·f", 4 * layers * tokens * d * f)
    else:
        up = ("feed-forward W1", "(T, d)(d, f)", "2·L·T·d·f", 2 * layers * tokens * d * f)
    operations = (
        ("Q projection", "(T, d)(d, d)", "2·L·T·d²", 2 * layers * tokens * d**2),
        ("K, V projections", "2 (T, d)(d, g·k)", "4·L·T·d·g·k", 4 * layers * tokens * d * g * k),
        ("scores Q Kᵀ", "B·h (S, k)(k, S)", "2·L·B·S²·d", attention),
        ("weighted values A V", "B·h (S, S)(S, k)", "2·L·B·S²·d", attention),
        ("output projection", "(T, d)(d, d)", "2·L·T·d²", 2 * layers * tokens * d**2),
        up,
        ("feed-forward W2", "(T, f)(f, d)", "2·L·T·d·f", 2 * layers * tokens * d * f),
        ("output head", "(T, d)(d, V)", "2·T·d·V", 2 * tokens * d * vocab),
    )
    total = sum(flops for *_, flops in operations)
    return tuple(
        OperationRow(operation, shapes, formula, flops, flops / total)
        for operation, shapes, formula, flops in operations
    )


def forward_flops(shape: TransformerShape, *, batch_size: int = 1, sequence_length: int | None = None) -> int:
    """Count the FLOPs of one forward pass: the sum of `forward_ledger`.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        sequence_length: Tokens in each, S; the context length if left out, and no more than it.

    Raises:
        ValueError: If the shape is impossible, a number is not positive or the sequence too long.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL, TINYSTORIES
        >>> forward_flops(GPT2_XL), forward_flops(TINYSTORIES)
        (4513336524800, 9533652992)
    """
    rows = forward_ledger(shape, batch_size=batch_size, sequence_length=sequence_length)
    return sum(row.flops for row in rows)


def training_flops(
    shape: TransformerShape, *, batch_size: int = 1, sequence_length: int | None = None
) -> int:
    """Count the FLOPs of one forward and backward pass: three times the forward pass.

    For Y = X W, the backward pass multiplies twice as much as the forward: for the gradient of X and for
    that of W. This holds for naive attention without recomputation (fused attention computes the scores
    anew, which is not counted: it is no useful work). The optimizer is left out: AdamW takes some 14 FLOPs
    per parameter and step, a fraction of a percent.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        sequence_length: Tokens in each, S; the context length if left out, and no more than it.

    Raises:
        ValueError: If the shape is impossible, a number is not positive or the sequence too long.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> training_flops(GPT2_XL)
        13540009574400
    """
    return 3 * forward_flops(shape, batch_size=batch_size, sequence_length=sequence_length)


def _checked_sequence_length(shape: Shape, sequence_length: int | None) -> int:
    if sequence_length is None:
        return shape.context_length
    require_positive_int("sequence_length", sequence_length)
    if sequence_length > shape.context_length:
        msg = (
            f"sequence_length must not exceed context_length, got {sequence_length} and "
            f"{shape.context_length}; ask about replace(shape, context_length={sequence_length})"
        )
        raise ValueError(msg)
    return sequence_length
