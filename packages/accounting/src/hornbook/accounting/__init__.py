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
from .memory import (
    MemoryPhase,
    MemoryRow,
    Precision,
    StepSettings,
    TrainingMemory,
    max_batch_size,
    training_memory,
)
from .parameters import (
    ParameterRow,
    num_non_embedding_parameters,
    num_parameters,
    num_vector_parameters,
    parameter_ledger,
)
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
from .units import format_bytes, format_count, format_flops, format_seconds, parse_bytes

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
    "MemoryPhase",
    "MemoryRow",
    "Norm",
    "OperationRow",
    "ParameterRow",
    "Phase",
    "Position",
    "Precision",
    "Shape",
    "StepSettings",
    "TrainingMemory",
    "TransformerShape",
    "cached_ledger",
    "decode_ledger",
    "format_bytes",
    "format_count",
    "format_flops",
    "format_seconds",
    "forward_flops",
    "forward_ledger",
    "generation_flops",
    "kv_cache_bytes",
    "ledger_table",
    "max_batch_size",
    "num_non_embedding_parameters",
    "num_parameters",
    "num_vector_parameters",
    "parameter_ledger",
    "parse_bytes",
    "prefill_ledger",
    "training_flops",
    "training_ledger",
    "training_memory",
    "training_seconds",
]
