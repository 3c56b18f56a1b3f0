"""The words that settings choose from; apart from what they choose, so that a command line needs no torch."""

from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
"""fp32; or matrix products in bfloat16 or float16 (autocast) with weights and moments in float32."""

WhichCheckpoint = Literal["latest", "best"] | int
"""The newest, the one with the least validation loss, or the one of a step."""
