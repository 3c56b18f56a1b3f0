"""Whether arithmetic or memory bounds each operation (Williams et al., "Roofline", 2009)."""

from typing import NamedTuple

from ._checks import require_choice
from .flops import step_symbols
from .formulas import evaluate
from .hardware import DType, Hardware
from .shape import TransformerShape

_WIDTHS = {"fp32": 4, "tf32": 4, "bf16": 2, "fp8": 1}


class RooflineRow(NamedTuple):
    """One kind of matrix product of the forward pass, in one layer."""

    operation: str
    """What is computed."""

    flops: int
    """FLOPs of one layer's products."""

    num_bytes: int
    """Factors read once and products written once."""

    intensity: str
    """FLOPs a byte."""

    bound: str
    """"compute" or "bandwidth": what takes longer."""

    seconds: str
    """The longer of the two times, at the peaks: no run is faster."""


def roofline(
    shape: TransformerShape,
    *,
    hardware: Hardware,
    dtype: DType,
    batch_size: int = 1,
    sequence_length: int | None = None,
) -> tuple[RooflineRow, ...]:
    """Compare each product's FLOPs with the bytes that it must move at the least.

    Bytes are those of factors and product in `dtype`, each moved once; explicit attention's scores are
    written and read, and a fused kernel moves queries, keys, values and output alone.

    Args:
        shape: A model's config or a `Shape`.
        hardware: See `find_hardware`.
        dtype: Of the numbers.
        batch_size: Sequences, B.
        sequence_length: Tokens in each, S; the context length if left out.

    Raises:
        ValueError: If the shape is impossible, or the device lacks the dtype.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL, find_hardware
        >>> for row in roofline(GPT2_XL, hardware=find_hardware("h100"), dtype="bf16")[:3]:
        ...     print(row.operation, row.intensity, row.bound)
        Q projection 449.1 compute
        K, V projections 449.1 compute
        explicit scores Q Kᵀ 56.9 bandwidth
    """
    require_choice("dtype", dtype, _WIDTHS)
    shape, symbols = step_symbols(shape, batch_size, sequence_length)
    up = 2 if shape.ffn == "swiglu" else 1
    kinds = (
        ("Q projection", "2·T·d²", "2·T·d + d²"),
        ("K, V projections", "4·T·d·g·k", "2·T·d + 2·T·g·k + 2·d·g·k"),
        ("explicit scores Q Kᵀ", "2·B·S²·d", "T·d + T·g·k + B·h·S²"),
        ("explicit weighted values A V", "2·B·S²·d", "T·d + T·g·k + B·h·S²"),
        ("fused attention", "4·B·S²·d", "2·T·d + 2·T·g·k"),
        ("output projection", "2·T·d²", "2·T·d + d²"),
        ("feed-forward up", f"{2 * up}·T·d·f", f"{up}·T·d + {up}·T·f + {up}·d·f"),
        ("feed-forward W2", "2·T·d·f", "T·d + T·f + d·f"),
        ("output head", "2·T·d·V", "T·d + T·V + V·d"),
    )
    rows = []
    for operation, flops_formula, numbers in kinds:
        flops, num_bytes = evaluate(flops_formula, symbols), _WIDTHS[dtype] * evaluate(numbers, symbols)
        compute, bandwidth = flops / hardware.peak(dtype), num_bytes / hardware.bytes_per_second
        bound = "compute" if compute >= bandwidth else "bandwidth"
        longest = f"{max(compute, bandwidth):.3e}"
        rows.append(RooflineRow(operation, flops, num_bytes, f"{flops / num_bytes:.1f}", bound, longest))
    return tuple(rows)
