"""What a Transformer costs, by formula: parameters, operations and time, without a dependency."""

from .duration import training_seconds
from .flops import OperationRow, forward_flops, forward_ledger, training_flops
from .parameters import ParameterRow, num_non_embedding_parameters, num_parameters, parameter_ledger
from .presets import GPT2_LARGE, GPT2_MEDIUM, GPT2_SMALL, GPT2_XL, OPENWEBTEXT, PRESETS, TINYSTORIES
from .shape import FeedForward, Norm, Position, Shape, TransformerShape
from .tables import ledger_table
from .units import format_count, format_flops, format_seconds

__all__ = [
    "GPT2_LARGE",
    "GPT2_MEDIUM",
    "GPT2_SMALL",
    "GPT2_XL",
    "OPENWEBTEXT",
    "PRESETS",
    "TINYSTORIES",
    "FeedForward",
    "Norm",
    "OperationRow",
    "ParameterRow",
    "Position",
    "Shape",
    "TransformerShape",
    "format_count",
    "format_flops",
    "format_seconds",
    "forward_flops",
    "forward_ledger",
    "ledger_table",
    "num_non_embedding_parameters",
    "num_parameters",
    "parameter_ledger",
    "training_flops",
    "training_seconds",
]
