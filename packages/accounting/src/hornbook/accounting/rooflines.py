"""Whether arithmetic or memory bounds each operation (Williams et al., "Roofline", 2009)."""

from dataclasses import replace
from typing import Any, NamedTuple

from ._checks import require_choice
from .flops import forward_ledger, step_symbols
from .formulas import evaluate, size_of_projection, width_of_heads
from .hardware import DType, Hardware
from .shape import TransformerShape

_WIDTHS = {"fp32": 4, "tf32": 4, "bf16": 2, "fp8": 1}
_UP = {"feed-forward W1, W3": "2·T·d + 2·T·f + 2·d·f", "feed-forward W1": "T·d + T·f + d·f"}


class RooflineRow(NamedTuple):
    """One kind of matrix product of the forward pass, in one layer."""

    operation: str
    """What is computed."""

    flops: int
    """FLOPs of one layer's products."""

    num_bytes: int
    """Factors read once and products written once."""

    intensity: float
    """FLOPs a byte."""

    bound: str
    """"compute" or "bandwidth": what takes longer."""

    seconds: float
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
        ValueError: If the shape is impossible, the device lacks the dtype or its bandwidth is not known.
        TypeError: If a number is not an int.

    Example:
        >>> from hornbook.accounting import GPT2_XL, find_hardware
        >>> for row in roofline(GPT2_XL, hardware=find_hardware("h100"), dtype="bf16")[:3]:
        ...     print(row.operation, round(row.intensity, 1), row.bound)
        Q projection 449.1 compute
        K, V projections 449.1 compute
        explicit scores Q Kᵀ 56.9 bandwidth
    """
    require_choice("dtype", dtype, _WIDTHS)
    if hardware.bytes_per_second == 0:
        msg = f"a roofline needs bytes_per_second, got 0 for {hardware.name}: take one of HARDWARE, or say it"
        raise ValueError(msg)
    size: dict[str, Any] = {"batch_size": batch_size, "sequence_length": sequence_length}
    shape, symbols = step_symbols(shape, **size)
    one_layer = replace(shape, num_layers=1)
    done = {row.operation: row.flops for row in forward_ledger(one_layer, **size)}
    scores, values = "scores Q Kᵀ", "weighted values A V"
    heads = width_of_heads(shape)
    up = next(operation for operation in done if operation in _UP)
    kinds = (
        ("Q projection", ("Q projection",), f"T·d + T·{heads} + {size_of_projection(shape)}"),
        ("K, V projections", ("K, V projections",), "2·T·d + 2·T·g·k + 2·d·g·k"),
        (f"explicit {scores}", (scores,), f"T·{heads} + T·g·k + B·h·S²"),
        (f"explicit {values}", (values,), f"T·{heads} + T·g·k + B·h·S²"),
        ("fused attention", (scores, values), f"2·T·{heads} + 2·T·g·k"),
        ("output projection", ("output projection",), f"T·d + T·{heads} + {size_of_projection(shape)}"),
        (up, (up,), _UP[up]),
        ("feed-forward W2", ("feed-forward W2",), "T·d + T·f + d·f"),
        ("output head", ("output head",), "T·d + T·V + V·d"),
    )
    rows = []
    for operation, parts, numbers in kinds:
        flops, num_bytes = sum(done[part] for part in parts), _WIDTHS[dtype] * evaluate(numbers, symbols)
        compute, bandwidth = flops / hardware.peak(dtype), num_bytes / hardware.bytes_per_second
        bound = "compute" if compute >= bandwidth else "bandwidth"
        longest = max(compute, bandwidth)
        rows.append(RooflineRow(operation, flops, num_bytes, flops / num_bytes, bound, longest))
    return tuple(rows)
