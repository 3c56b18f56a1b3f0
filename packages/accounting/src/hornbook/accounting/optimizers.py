"""What an optimizer computes in a step and keeps between steps: AdamW, or Muon with AdamW for the rest."""

from typing import Literal, NamedTuple, TypeAlias

from .formulas import evaluate, shape_symbols, width_of_heads
from .parameters import num_parameters
from .shape import Shape

Optimizer: TypeAlias = Literal["adamw", "muon"]
"""AdamW for all; or Muon for hidden matrices, and AdamW for embeddings, head, gains and scalars."""

# m = β1·m + (1-β1)·g: 3; v = β2·v + (1-β2)·g²: 4; p -= rate·m / (√v + ε): 5; p -= lr·λ·p: 2.
ADAMW_FLOPS_PER_PARAMETER = 14
# B = μ·B + (1-μ)·G: 3; μ·B + (1-μ)·G: 3; its norm, and the quotient by it: 3; W -= rate·O: 2;
# W -= lr·λ·W: 2.
MUON_FLOPS_PER_PARAMETER = 13
NUM_NEWTON_SCHULZ_STEPS = 5


class HiddenMatrix(NamedTuple):
    """A kind of matrix that maps activations to activations."""

    name: str
    num_in_layer: int
    rows: str
    """In symbols, as the columns."""
    columns: str


def hidden_matrices(shape: Shape) -> tuple[HiddenMatrix, ...]:
    """The matrices that Muon updates, in the order of the model."""
    heads = width_of_heads(shape)
    return (
        HiddenMatrix("Q", 1, heads, "d"),
        HiddenMatrix("K, V", 2, "g·k", "d"),
        HiddenMatrix("O", 1, "d", heads),
        HiddenMatrix("feed-forward up", 2 if shape.ffn == "swiglu" else 1, "f", "d"),
        HiddenMatrix("feed-forward down", 1, "d", "f"),
    )


def optimizer_symbols(shape: Shape) -> dict[str, int]:
    """The letters of an optimizer's formulas: all parameters, those of hidden matrices, the others."""
    symbols = shape_symbols(shape)
    hidden = sum(
        evaluate(f"{kind.num_in_layer}·L·{kind.rows}·{kind.columns}", symbols)
        for kind in hidden_matrices(shape)
    )
    everything = num_parameters(shape)
    return symbols | {"P": everything, "H": hidden, "E": everything - hidden}


def optimizer_operations(shape: Shape, optimizer: Optimizer) -> tuple[tuple[str, str, str], ...]:
    """Every operation of an update: what, shapes in one layer, and FLOPs as a formula.

    AdamW has no matrix multiply, and each parameter's few operations are counted. So are Muon's; its five
    Newton-Schulz steps are products, and counted as such (Jordan et al., "Muon", 2024): for a matrix whose
    shorter side is s and whose longer one is l, X Xᵀ and p(X Xᵀ) X take 2·s²·l each, (X Xᵀ)² takes 2·s³.
    (In float32 on a CPU hornbook's own multiplies less: it iterates on X Xᵀ, which is symmetric.)
    """
    if optimizer == "adamw":
        return (("AdamW", "(P)", f"{ADAMW_FLOPS_PER_PARAMETER}·P"),)
    symbols = shape_symbols(shape)
    products = []
    for name, number, rows, columns in hidden_matrices(shape):
        short, long = sorted((rows, columns), key=lambda side: evaluate(side, symbols))
        square, cube = (short.replace("·", f"{power}·") + power for power in "²³")
        times = NUM_NEWTON_SCHULZ_STEPS * number
        formula = f"{4 * times}·L·{square}·{long} + {2 * times}·L·{cube}"
        factors = f"({short}, {long})({long}, {short}), ({short}, {short})({short}, {short}), …"
        products.append((f"Newton-Schulz {name}", f"{number} {factors}" if number > 1 else factors, formula))
    return (
        *products,
        ("Muon, number by number", "(H)", f"{MUON_FLOPS_PER_PARAMETER}·H"),
        ("AdamW", "(E)", f"{ADAMW_FLOPS_PER_PARAMETER}·E"),
    )


def optimizer_state(optimizer: Optimizer) -> tuple[tuple[str, str, str], ...]:
    """What is kept between steps, in float32: by whom, what, and bytes as a formula."""
    if optimizer == "adamw":
        return (("AdamW", "two moments", "8·P"),)
    return (("Muon", "momentum", "4·H"), ("AdamW", "two moments", "8·E"))
