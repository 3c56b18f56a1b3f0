"""How many parameters, and where they are."""

from typing import NamedTuple

from .formulas import evaluate, shape_symbols, size_of_projection, width_of_heads
from .shape import TransformerShape, checked


class ParameterRow(NamedTuple):
    """One kind of parameter in the whole model."""

    component: str
    """What the parameters belong to."""

    shape: str
    """Their tensors in one layer, in symbols: V vocab_size, d d_model, f d_ff, g heads of keys and values,
    each of width k."""

    formula: str
    """The count in these symbols and L, num_layers."""

    num_parameters: int
    """How many numbers they are in the whole model."""


_FEED_FORWARD_BIASES = {True: ("2 (f), (d)", "2·L·f + L·d"), False: ("(f), (d)", "L·f + L·d")}


def parameter_ledger(shape: TransformerShape) -> tuple[ParameterRow, ...]:
    """Every parameter of the model, by component, from the embedding to the head.

    A pre-norm block has two norms, and one more follows the last block; a post-norm block has two; without
    norms there are none but those of queries and keys, which are a switch of their own. A tied head has no
    row: its matrix is the embedding's; nor has a head ever a bias.

    Args:
        shape: A model's config or a `Shape`.

    Raises:
        ValueError: If the shape is impossible.
        TypeError: If a size is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> for row in parameter_ledger(TINYSTORIES)[:3]:
        ...     print(row.component, "|", row.shape, "|", row.formula, "|", row.num_parameters)
        token embedding | (V, d) | V·d | 5120000
        attention Q, O | 2 (d, d) | 2·L·d² | 2097152
        attention K, V | 2 (g·k, d) | 2·L·d·g·k | 2097152
    """
    shape = checked(shape)
    symbols = shape_symbols(shape)
    biases = shape.biases
    kinds = [("token embedding", "(V, d)", "V·d")]
    if shape.position == "learned":
        kinds.append(("position embedding", "(C, d)", "C·d"))
    together = width_of_heads(shape)
    factors = "2 (d, d)" if together == "d" else f"({together}, d), (d, {together})"
    kinds.append(("attention Q, O", factors, f"2·L·{size_of_projection(shape)}"))
    kinds.append(("attention K, V", "2 (g·k, d)", "2·L·d·g·k"))
    if biases:
        biases_of = ("2 (d)", "2·L·d") if together == "d" else (f"({together}), (d)", f"L·{together} + L·d")
        kinds.append(("biases of Q, O", *biases_of))
        kinds.append(("biases of K, V", "2 (g·k)", "2·L·g·k"))
    if shape.qk_norm:
        kinds.append(("norms of Q, K", "2 (k)", "2·L·k"))
    if shape.value_residual:
        kinds.append(("value residual", "(2)", "2·(L-1)"))
    if shape.ffn == "swiglu":
        kinds.append(("feed-forward W1, W3, W2", "2 (f, d), (d, f)", "3·L·d·f"))
    else:
        kinds.append(("feed-forward W1, W2", "(f, d), (d, f)", "2·L·d·f"))
    if biases:
        kinds.append(("biases of the feed-forward", *_FEED_FORWARD_BIASES[shape.ffn == "swiglu"]))
    if shape.norm != "none":
        # A norm with a bias is a LayerNorm: it has a gain as well.
        kinds.append(
            ("norms in the blocks", "4 (d)", "4·L·d") if biases else ("norms in the blocks", "2 (d)", "2·L·d")
        )
    if shape.embedding_shortcut:
        kinds.append(("embedding shortcut", "(2)", "2·L"))
    if shape.norm == "pre":
        kinds.append(("final norm", "2 (d)", "2·d") if biases else ("final norm", "(d)", "d"))
    if not shape.tied_embeddings:
        kinds.append(("output head", "(V, d)", "V·d"))
    return tuple(ParameterRow(*kind, evaluate(kind[2], symbols)) for kind in kinds)


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
    return sum(row.num_parameters for row in parameter_ledger(shape))


def num_non_embedding_parameters(shape: TransformerShape) -> int:
    """Count the parameters without the embeddings of tokens and positions and without the output head.

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
        row.num_parameters
        for row in parameter_ledger(shape)
        if row.component not in ("token embedding", "position embedding", "output head")
    )


def num_vector_parameters(shape: TransformerShape) -> int:
    """Count the parameters outside of matrices: gains, biases, scalars. Weight decay usually leaves them out.

    Args:
        shape: A model's config or a `Shape`.

    Raises:
        ValueError: If the shape is impossible.
        TypeError: If a size is not an int.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> num_vector_parameters(TINYSTORIES)  # nine gains of 512
        4608
    """
    matrices = ("token embedding", "position embedding", "output head", "attention", "feed-forward")
    return sum(
        row.num_parameters for row in parameter_ledger(shape) if not row.component.startswith(matrices)
    )
