"""What a Transformer costs, by formula: parameters, operations and time, without a dependency."""

from .duration import training_seconds
from .flops import (
    Attention,
    OperationRow,
    Phase,
    forward_flops,
    forward_ledger,
    training_flops,
    training_ledger,
)
from .formulas import SYMBOLS
from .inference import cached_ledger, decode_ledger, generation_flops, kv_cache_bytes, prefill_ledger
from .parameters import ParameterRow, num_non_embedding_parameters, num_parameters, parameter_ledger
from .presets import (
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    LLAMA3_8B,
    OPENWEBTEXT,
    PRESETS,
    TINYSTORIES,
)
from .shape import FeedForward, Norm, Position, Shape, TransformerShape
from .tables import ledger_table
from .units import format_count, format_flops, format_seconds

__all__ = [
    "GPT2_LARGE",
    "GPT2_MEDIUM",
    "GPT2_SMALL",
    "GPT2_XL",
    "LLAMA3_8B",
    "OPENWEBTEXT",
    "PRESETS",
    "SYMBOLS",
    "TINYSTORIES",
    "Attention",
    "FeedForward",
    "Norm",
    "OperationRow",
    "ParameterRow",
    "Phase",
    "Position",
    "Shape",
    "TransformerShape",
    "cached_ledger",
    "decode_ledger",
    "format_count",
    "format_flops",
    "format_seconds",
    "forward_flops",
    "forward_ledger",
    "generation_flops",
    "kv_cache_bytes",
    "ledger_table",
    "num_non_embedding_parameters",
    "num_parameters",
    "parameter_ledger",
    "prefill_ledger",
    "training_flops",
    "training_ledger",
    "training_seconds",
]
