"""What a Transformer costs, by formula: parameters, operations and time, without a dependency."""

from .duration import TrainingTime, training_seconds, training_time
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
from .hardware import HARDWARE, DType, Hardware, find_hardware, hardware_named
from .inference import cached_ledger, decode_ledger, generation_flops, kv_cache_bytes, prefill_ledger
from .memory import (
    MemoryPhase,
    MemoryRow,
    Moment,
    Precision,
    StepSettings,
    TrainingMemory,
    max_batch_size,
    missing_layer,
    training_memory,
)
from .meters import UtilizationRow, utilization
from .optimizers import Optimizer
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
from .rooflines import RooflineRow, roofline
from .shape import FeedForward, Norm, Position, Shape, TransformerShape
from .tables import TableFormat, ledger_table, table
from .units import Share, format_bytes, format_count, format_flops, format_seconds, parse_bytes

__all__ = [
    "GPT2_LARGE",
    "GPT2_MEDIUM",
    "GPT2_SMALL",
    "GPT2_XL",
    "HARDWARE",
    "LLAMA3_8B",
    "OPENWEBTEXT",
    "PRESETS",
    "SYMBOLS",
    "TINYSTORIES",
    "Attention",
    "DType",
    "FeedForward",
    "Hardware",
    "MemoryPhase",
    "MemoryRow",
    "Moment",
    "Norm",
    "OperationRow",
    "Optimizer",
    "ParameterRow",
    "Phase",
    "Position",
    "Precision",
    "RooflineRow",
    "Shape",
    "Share",
    "StepSettings",
    "TableFormat",
    "TrainingMemory",
    "TrainingTime",
    "TransformerShape",
    "UtilizationRow",
    "cached_ledger",
    "decode_ledger",
    "find_hardware",
    "format_bytes",
    "format_count",
    "format_flops",
    "format_seconds",
    "forward_flops",
    "forward_ledger",
    "generation_flops",
    "hardware_named",
    "kv_cache_bytes",
    "ledger_table",
    "max_batch_size",
    "missing_layer",
    "num_non_embedding_parameters",
    "num_parameters",
    "num_vector_parameters",
    "parameter_ledger",
    "parse_bytes",
    "prefill_ledger",
    "roofline",
    "table",
    "training_flops",
    "training_ledger",
    "training_memory",
    "training_seconds",
    "training_time",
    "utilization",
]
