"""How many floating-point operations a training step takes, and where they go.

The convention, that of torch's FlopCounterMode: matrix multiplies alone are counted, a multiplication of
(m, n) by (n, p) as 2·m·n·p, one multiply and one add each. The embedding is a look-up and costs nothing;
norms, softmax, activations, RoPE, learned mixes and residual additions are left out. All S² scores are
computed, those that causality masks too, so nothing is halved (`meters` has the other conventions).

For Y = X W, the backward pass multiplies twice: dX = dY Wᵀ and dW = Xᵀ dY, each as much as the forward.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

from ._checks import require_bool, require_choice, require_positive_int
from .formulas import evaluate, shape_symbols, size_of_projection, width_of_heads
from .optimizers import Optimizer, optimizer_operations, optimizer_symbols
from .shape import Shape, TransformerShape, checked
from .units import Share

Attention: TypeAlias = Literal["explicit", "fused"]
"""All scores in memory, or a kernel that computes them again going backward (Dao et al., 2022)."""

Phase: TypeAlias = Literal["forward", "recompute", "backward", "optimizer"]
"""When in a step an operation runs."""


class OperationRow(NamedTuple):
    """One kind of operation in one phase, in the whole model."""

    phase: Phase
    """When it runs."""

    operation: str
    """What is computed."""

    shapes: str
    """The factors in one layer, in the symbols of `SYMBOLS`."""

    formula: str
    """The FLOPs in these symbols."""

    flops: int
    """FLOPs in the whole model."""

    share: float
    """Part of the ledger's total, between 0 and 1 (a `Share`)."""


class Product(NamedTuple):
    """A kind of matrix multiply, before it is known how often it runs."""

    operation: str
    shapes: str
    """Factors of the forward product."""

    gradients: str
    """Factors of the backward products."""

    formula: str
    """FLOPs of the forward product without its leading coefficient."""

    coefficient: int

    def row(self, phase: Phase, symbols: dict[str, int], times: int = 1) -> OperationRow:
        """The row of a phase in which it runs so many times as in the forward pass, its share unknown."""
        formula = f"{times * self.coefficient}·{self.formula}"
        shapes = self.gradients if phase == "backward" else self.shapes
        return OperationRow(phase, self.operation, shapes, formula, evaluate(formula, symbols), 0.0)


def products(
    shape: Shape, scores: str = "S²", logits: str = "T", *, causal_half: bool = False
) -> tuple[Product, ...]:
    """Every kind of matrix multiply in the order of the forward pass.

    Args:
        shape: A checked shape.
        scores: Formula of the scores of a head, queries times keys.
        logits: Formula of the positions that get logits, over the batch.
        causal_half: Whether half of the scores are left out.
    """
    keys = "N" if "N" in scores else "S"
    heads = width_of_heads(shape)
    projected = f"L·T·{size_of_projection(shape)}"
    each_head, scored = f"L·B·{scores}·{heads}", 1 if causal_half else 2
    up = (
        Product("feed-forward W1, W3", "2 (T, d)(d, f)", "2 (T, f)(f, d), 2 (d, T)(T, f)", "L·T·d·f", 4)
        if shape.ffn == "swiglu"
        else Product("feed-forward W1", "(T, d)(d, f)", "(T, f)(f, d), (d, T)(T, f)", "L·T·d·f", 2)
    )
    return (
        Product(
            "Q projection",
            f"(T, d)(d, {heads})",
            f"(T, {heads})({heads}, d), (d, T)(T, {heads})",
            projected,
            2,
        ),
        Product(
            "K, V projections", "2 (T, d)(d, g·k)", "2 (T, g·k)(g·k, d), 2 (d, T)(T, g·k)", "L·T·d·g·k", 4
        ),
        # Grouped or not: every head of queries has scores, and several share keys and values.
        Product("scores Q Kᵀ", f"B·h (S, k)(k, {keys})", "B·h (S, S)(S, k), (S, S)(S, k)", each_head, scored),
        Product(
            "weighted values A V",
            f"B·h (S, {keys})({keys}, k)",
            "B·h (S, k)(k, S), (S, S)(S, k)",
            each_head,
            scored,
        ),
        Product(
            "output projection",
            f"(T, {heads})({heads}, d)",
            f"(T, d)(d, {heads}), ({heads}, T)(T, d)",
            projected,
            2,
        ),
        up,
        Product("feed-forward W2", "(T, f)(f, d)", "(T, d)(d, f), (f, T)(T, d)", "L·T·d·f", 2),
        Product(
            "output head",
            f"({logits}, d)(d, V)",
            f"({logits}, V)(V, d), (d, {logits})({logits}, V)",
            f"{logits}·d·V",
            2,
        ),
    )


def forward_ledger(
    shape: TransformerShape,
    *,
    batch_size: int = 1,
    sequence_length: int | None = None,
    causal_half: bool = False,
) -> tuple[OperationRow, ...]:
    """Every matrix multiply of one forward pass, in its order.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        sequence_length: Tokens in each, S; the context length if left out, and no more than it.
        causal_half: Whether the half of the scores that causality masks is left out, as Megatron-LM counts.

    Raises:
        ValueError: If the shape is impossible, a number is not positive or the sequence too long.
        TypeError: If a number is not an int or the switch not a bool.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> for row in forward_ledger(GPT2_XL)[:2]:
        ...     print(row.operation, "|", row.shapes, "|", row.formula, "|", row.flops, f"{row.share:.2%}")
        Q projection | (T, d)(d, d) | 2·L·T·d² | 251658240000 5.58%
        K, V projections | 2 (T, d)(d, g·k) | 4·L·T·d·g·k | 503316480000 11.15%
    """
    require_bool("causal_half", causal_half)
    shape, symbols = step_symbols(shape, batch_size, sequence_length)
    kinds = products(shape, causal_half=causal_half)
    return with_shares(product.row("forward", symbols) for product in kinds)


def training_ledger(
    shape: TransformerShape,
    *,
    batch_size: int = 1,
    sequence_length: int | None = None,
    attention: Attention = "explicit",
    checkpointing: bool = False,
    optimizer: Optimizer = "adamw",
    causal_half: bool = False,
) -> tuple[OperationRow, ...]:
    """Every operation of one training step, phase by phase: what the hardware does.

    Without the optimizer's rows the sum is what FlopCounterMode counts in forward and backward pass. What of
    it is useful work is `training_flops`: the recomputation of a kernel or of checkpointing is none.

    Args:
        shape: A model's config or a `Shape`.
        batch_size: Sequences, B.
        sequence_length: Tokens in each, S; the context length if left out, and no more than it.
        attention: "explicit" keeps the scores; "fused" computes Q Kᵀ once more going backward, so that it
            has five products of that size for the explicit four: 2.5 forward passes (Dao et al.,
            "FlashAttention", 2022, algorithm 4).
        checkpointing: Whether each block keeps its input alone and runs again before its backward pass (Chen
            et al., "Training Deep Nets with Sublinear Memory Cost", 2016). torch stops as soon as all that
            the backward pass needs is there: W2 does not run again, unless a norm follows it.
        optimizer: "adamw" or "muon", once a step however many sequences it sees.
        causal_half: Whether the half of the scores that causality masks is left out, as Megatron-LM counts; a
            kernel that skips masked blocks comes near it.

    Raises:
        ValueError: If the shape is impossible, a number is not positive, the sequence too long or a choice
            unknown.
        TypeError: If a number is not an int or a switch not a bool.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> rows = training_ledger(TINYSTORIES, attention="fused")
        >>> for row in (rows[2], rows[10], rows[-1]):
        ...     print(row.phase, "|", row.operation, "|", row.formula, "|", row.flops)
        forward | scores Q Kᵀ | 2·L·B·S²·d | 268435456
        backward | scores Q Kᵀ | 6·L·B·S²·d | 805306368
        optimizer | AdamW | 14·P | 317750272
    """
    require_choice("attention", attention, get_args(Attention))
    for name, switch in (("checkpointing", checkpointing), ("causal_half", causal_half)):
        require_bool(name, switch)
    require_choice("optimizer", optimizer, get_args(Optimizer))
    shape, symbols = step_symbols(shape, batch_size, sequence_length)
    kinds = products(shape, causal_half=causal_half)
    rows = [product.row("forward", symbols) for product in kinds]
    if checkpointing:
        again = kinds[:-1] if shape.norm == "post" else kinds[:-2]
        rows += [product.row("recompute", symbols) for product in again]
    for product in kinds:
        fused_scores = attention == "fused" and product.operation.startswith("scores")
        rows.append(product.row("backward", symbols, times=3 if fused_scores else 2))
    symbols = optimizer_symbols(shape)
    rows += [
        OperationRow("optimizer", operation, shapes, formula, evaluate(formula, symbols), 0.0)
        for operation, shapes, formula in optimizer_operations(shape, optimizer)
    ]
    return with_shares(rows)


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
    """Count the useful FLOPs of one forward and backward pass: three times the forward pass.

    These are the model FLOPs of MFU: nothing that is computed twice, and not the optimizer: AdamW's 14
    FLOPs per parameter and step are a fraction of a percent. What the hardware does is `training_ledger`.

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


def step_symbols(
    shape: TransformerShape, batch_size: int, sequence_length: int | None
) -> tuple[Shape, dict[str, int]]:
    """The checked shape and the value of every letter that a pass over a batch needs."""
    shape = checked(shape)
    require_positive_int("batch_size", batch_size)
    seq = checked_sequence_length(shape, sequence_length)
    return shape, shape_symbols(shape) | {"B": batch_size, "S": seq, "T": batch_size * seq}


def with_shares(rows: Iterator[OperationRow] | Sequence[OperationRow]) -> tuple[OperationRow, ...]:
    """The same rows with each one's share of their sum."""
    rows = tuple(rows)
    total = sum(row.flops for row in rows)
    return tuple(
        OperationRow(row.phase, row.operation, row.shapes, row.formula, row.flops, Share(row.flops / total))
        for row in rows
    )


def checked_sequence_length(shape: Shape, sequence_length: int | None) -> int:
    """The tokens of a sequence: the context if None, and never more."""
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
