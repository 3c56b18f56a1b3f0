"""How many parameters, and where they are."""

from dataclasses import dataclass

from .shape import TransformerShape, checked


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """One kind of parameter in the whole model."""

    component: str
    """What the parameters belong to."""

    shape: str
    """Their tensors in one layer, in symbols: V vocab_size, d d_model, f d_ff."""

    formula: str
    """The count in these symbols and L, num_layers."""

    count: int
    """How many numbers they are in the whole model."""


def parameter_ledger(shape: TransformerShape) -> tuple[ParameterRow, ...]:
    """Every parameter of the model, by component, in the order of the forward pass.

    A pre-norm block has two norms, and one more follows the last block; a post-norm block has two; without
    norms there are none. A tied head has no row: its matrix is the embedding's.

    Args:
        shape: A model's config or a `Shape`.

    Raises:
        ValueError: If the shape is impossible.
        TypeError: If a size is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> for row in parameter_ledger(TINYSTORIES)[:2]:
        ...     print(row.component, "|", row.shape, "|", row.formula, "|", row.count)
        token embedding | (V, d) | V·d | 5120000
        attention Q, K, V, O | 4 (d, d) | 4·L·d² | 4194304
    """
    shape = checked(shape)
    vocab, layers, d, f = shape.vocab_size, shape.num_layers, shape.d_model, shape.d_ff
    rows = [
        ParameterRow("token embedding", "(V, d)", "V·d", vocab * d),
        ParameterRow("attention Q, K, V, O", "4 (d, d)", "4·L·d²", 4 * layers * d**2),
    ]
    if shape.ffn == "swiglu":
        rows.append(
            ParameterRow("feed-forward W1, W3, W2", "2 (f, d), (d, f)", "3·L·d·f", 3 * layers * d * f)
        )
    else:
        rows.append(ParameterRow("feed-forward W1, W2", "(f, d), (d, f)", "2·L·d·f", 2 * layers * d * f))
    if shape.norm != "none":
        rows.append(ParameterRow("norms in the blocks", "2 (d)", "2·L·d", 2 * layers * d))
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
