"""How many parameters, and where they are."""

from dataclasses import dataclass

from .shape import TransformerShape, checked


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One kind of parameter in the whole model."""

    component: str
    """What the parameters belong to."""

    shape: str
    """Their tensors in one layer, in symbols: V vocab_size, d d_model, f d_ff, g heads of keys and values,
    each of width k."""

    formula: str
    """The count in these symbols and L, num_layers."""

    count: int
    """How many numbers they are in the whole model."""


def parameter_ledger(shape: TransformerShape) -> tuple[ParameterRow, ...]:
    """Every parameter of the model, by component, from the embedding to the head.

    A pre-norm block has two norms, and one more follows the last block; a post-norm block has two; without
    norms there are none but those of queries and keys, which are a switch of their own. A tied head has no
    row: its matrix is the embedding's.

    Args:
        shape: A model's config or a `Shape`.

    Raises:
        ValueError: If the shape is impossible.
        TypeError: If a size is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> for row in parameter_ledger(TINYSTORIES)[:3]:
        ...     print(row.component, "|", row.shape, "|", row.formula, "|", row.count)
        token embedding | (V, d) | V·d | 5120000
        attention Q, O | 2 (d, d) | 2·L·d² | 2097152
        attention K, V | 2 (g·k, d) | 2·L·d·g·k | 2097152
    """
    shape = checked(shape)
    vocab, layers, d, f = shape.vocab_size, shape.num_layers, shape.d_model, shape.d_ff
    g, k = shape.kv_heads, shape.head_dim
    rows = [
        ParameterRow("token embedding", "(V, d)", "V·d", vocab * d),
        ParameterRow("attention Q, O", "2 (d, d)", "2·L·d²", 2 * layers * d**2),
        ParameterRow("attention K, V", "2 (g·k, d)", "2·L·d·g·k", 2 * layers * d * g * k),
    ]
    if shape.qk_norm:
        rows.append(ParameterRow("norms of Q, K", "2 (k)", "2·L·k", 2 * layers * k))
    if shape.value_residual:
        rows.append(ParameterRow("value residual", "(2)", "2·(L-1)", 2 * (layers - 1)))
    if shape.ffn == "swiglu":
        rows.append(
            ParameterRow("feed-forward W1, W3, W2", "2 (f, d), (d, f)", "3·L·d·f", 3 * layers * d * f)
        )
    else:
        rows.append(ParameterRow("feed-forward W1, W2", "(f, d), (d, f)", "2·L·d·f", 2 * layers * d * f))
    if shape.norm != "none":
        rows.append(ParameterRow("norms in the blocks", "2 (d)", "2·L·d", 2 * layers * d))
    if shape.embedding_shortcut:
        rows.append(ParameterRow("embedding shortcut", "(2)", "2·L", 2 * layers))
    if shape.norm == "pre":
        rows.append(ParameterRow("final norm", "(d)", "d", d))
    if not shape.tied_embeddings:
        rows.append(ParameterRow("output head", "(V, d)", "V·d", vocab * d))
    return tuple(rows)


def num_parameters(shape: TransformerShape) -> int:
    """Count all parameters; a matrix that is tied counts once.

    Args:
        shape: A model's config or a `Shape`.

    Raises:
        ValueError: If the shape is impossible.
        TypeError: If a size is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL
        >>> num_parameters(GPT2_XL)
        2127057600
    """
    return sum(row.count for row in parameter_ledger(shape))


def num_non_embedding_parameters(shape: TransformerShape) -> int:
    """Count the parameters without the token embedding and without the output head.

    This is the N of Kaplan et al., "Scaling Laws for Neural Language Models" (2020).

    Args:
        shape: A model's config or a `Shape`.

    Raises:
        ValueError: If the shape is impossible.
        TypeError: If a size is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> num_non_embedding_parameters(TINYSTORIES)
        12456448
    """
    return sum(
        row.count
        for row in parameter_ledger(shape)
        if row.component not in ("token embedding", "output head")
    )
