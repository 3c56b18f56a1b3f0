"""Formulas that are written once: what a reader sees is what is computed."""

from collections.abc import Mapping

from .shape import Shape

SYMBOLS: Mapping[str, str] = {
    "V": "vocab_size",
    "L": "num_layers",
    "d": "d_model",
    "h": "num_heads",
    "g": "num_kv_heads, or num_heads",
    "k": "head_dim, or d / h, the width of a head",
    "f": "d_ff",
    "C": "context_length",
    "B": "batch_size, sequences at a time",
    "S": "sequence_length, new tokens of each sequence",
    "T": "B·S, tokens at a time",
    "N": "keys that a query meets: the new tokens and those in the cache",
    "R": "positions of each sequence that get logits",
    "c": "tokens whose logits exist at a time",
    "P": "parameters",
    "H": "parameters of hidden matrices: projections and feed-forward",
    "E": "the other parameters: embeddings, head, gains, scalars",
}
"""What each letter of a formula stands for."""

_POWERS = {"²": 2, "³": 3}


def shape_symbols(shape: Shape) -> dict[str, int]:
    """The letters that a shape gives a value."""
    return {
        "V": shape.vocab_size,
        "L": shape.num_layers,
        "(L-1)": shape.num_layers - 1,
        "C": shape.context_length,
        "d": shape.d_model,
        "h": shape.num_heads,
        "g": shape.kv_heads,
        "k": shape.head_width,
        "f": shape.d_ff,
    }


def width_of_heads(shape: Shape) -> str:
    """The features of all heads of queries together: "d", unless they are as wide as they like."""
    return "d" if shape.num_heads * shape.head_width == shape.d_model else "h·k"


def size_of_projection(shape: Shape) -> str:
    """The numbers in the matrix of the queries, or of the output."""
    return "d²" if width_of_heads(shape) == "d" else "d·h·k"


def evaluate(formula: str, symbols: Mapping[str, int]) -> int:
    """Compute a sum of products, such as "2·L·T·d² + 4·T".

    Args:
        formula: Terms joined by " + ", factors by "·"; a factor is an int or a symbol, and may end in ² or ³.
        symbols: The value of each symbol.

    Raises:
        KeyError: If a symbol has no value.

    Example:
        >>> evaluate("2·T·d² + 4·T", {"T": 3, "d": 10})
        612
    """
    total = 0
    for term in formula.split(" + "):
        product = 1
        for factor in term.split("·"):
            base, power = (factor[:-1], _POWERS[factor[-1]]) if factor[-1] in _POWERS else (factor, 1)
            product *= (int(base) if base.isdecimal() else symbols[base]) ** power
        total += product
    return total
