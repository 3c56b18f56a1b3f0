"""How much of a device a run uses, under each convention that people count by.

Two papers' MFU are comparable only where their FLOPs a token are counted alike, so all are given, side by
side. HFU counts what is computed twice as well (Korthikanti et al., "Reducing Activation Recomputation in
Large Transformer Models", 2022).
"""

from typing import NamedTuple

from ._checks import require_number, require_positive_int
from .flops import Attention, forward_ledger, training_flops, training_ledger
from .formulas import width_of_heads
from .parameters import num_parameters
from .shape import TransformerShape, checked
from .units import Share


class UtilizationRow(NamedTuple):
    """One convention."""

    convention: str
    """What it is called here."""

    counts: str
    """What it counts, and its source."""

    flops_per_token: float
    """Training FLOPs a token."""

    flops_per_second: float
    """These at the measured speed."""

    utilization: float
    """As a share of the peak (a `Share`)."""


def utilization(
    shape: TransformerShape,
    *,
    tokens_per_second: float,
    peak_flops_per_second: float,
    attention: Attention = "fused",
    checkpointing: bool = False,
    num_devices: int = 1,
) -> tuple[UtilizationRow, ...]:
    """Compute MFU, by every convention, and HFU from a measured speed.

    Args:
        shape: A model's config or a `Shape`; sequences are of context length.
        tokens_per_second: Of all devices together.
        peak_flops_per_second: Of one device, dense, for the dtype in use.
        attention: As the run computes it, for HFU.
        checkpointing: As the run does it, for HFU.
        num_devices: How many shared the work.

    Raises:
        ValueError: If a number is not positive.
        TypeError: If a number is of the wrong type.

    Example:
        >>> from hornbook.accounting import TINYSTORIES
        >>> for row in utilization(TINYSTORIES, tokens_per_second=1e6, peak_flops_per_second=989.5e12)[:2]:
        ...     print(row.convention, f"{row.flops_per_token:,.0f}", f"{row.utilization:.2%}")
        MFU, ledger 111,722,496 11.29%
        MFU, causal half 108,576,768 10.97%
    """
    shape = checked(shape)
    require_number("tokens_per_second", tokens_per_second)
    require_number("peak_flops_per_second", peak_flops_per_second)
    require_positive_int("num_devices", num_devices)
    seq, everything = shape.context_length, num_parameters(shape)
    useful = training_flops(shape) / seq
    half = 3 * sum(row.flops for row in forward_ledger(shape, causal_half=True)) / seq
    done = training_ledger(shape, attention=attention, checkpointing=checkpointing)
    performed = sum(row.flops for row in done if row.phase != "optimizer") / seq
    palm = 6 * everything + 12 * shape.num_layers * shape.num_heads * shape.head_width * seq
    heads = width_of_heads(shape)
    conventions = (
        ("MFU, ledger", "3 · forward matrix products, as torch counts them", useful),
        ("MFU, causal half", "the same with half of the scores, as Megatron-LM", half),
        ("MFU, 6N", "6 · all parameters (Kaplan et al., 2020, with embeddings)", 6.0 * everything),
        ("MFU, PaLM", f"6N + 12·L·{heads}·S (Chowdhery et al., 2022, appendix B)", float(palm)),
        ("HFU", "what is computed, again and again", performed),
    )
    peak = num_devices * peak_flops_per_second
    return tuple(
        UtilizationRow(
            name, counts, flops, flops * tokens_per_second, Share(flops * tokens_per_second / peak)
        )
        for name, counts, flops in conventions
    )
