"""RoPE for contexts longer than those a model was trained on first."""

import math
from dataclasses import dataclass

from ._checks import check_positive_finite, check_positive_int


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """Slow rotations down, the slowest most, as Llama 3.1 does ("llama3" in transformers).

    A pair that turns n times in the original context keeps its speed if n is at least `high_freq_factor`,
    turns at 1 / `factor` of it if n is at most `low_freq_factor`, and between the two at

        share + (1 - share) / factor
        with  share = (n - low_freq_factor) / (high_freq_factor - low_freq_factor)

    So near positions are told apart as before, and far ones by angles that have been seen in training.

    Attributes:
        factor: How much slower.
        original_context_length: Tokens, before the context was made longer.
        low_freq_factor: Turns in the original context up to which a pair is slowed down fully.
        high_freq_factor: Turns from which it is left alone.

    Raises:
        TypeError: If a value is not a number.
        ValueError: If a value is not positive, or the last is not more than the one before.

    Example:
        >>> scaling = RopeScaling(factor=8.0, original_context_length=8192)
        >>> scaling.slowed(1.0), scaling.slowed(0.0)
        (1.0, 0.125)
    """

    factor: float
    original_context_length: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what would divide by zero, or turn backwards."""
        for name in ("factor", "low_freq_factor", "high_freq_factor"):
            check_positive_finite(f"rope_scaling.{name}", getattr(self, name))
        check_positive_int("rope_scaling.original_context_length", self.original_context_length)
        if self.high_freq_factor <= self.low_freq_factor:
            msg = (
                "rope_scaling.high_freq_factor must be more than low_freq_factor, got"
                f" {self.high_freq_factor} and {self.low_freq_factor}"
            )
            raise ValueError(msg)

    def slowed(self, angle: float) -> float:
        """Return the share of its speed that a pair keeps.

        Args:
            angle: That it turns by from one position to the next, in radians.
        """
        turns = self.original_context_length * angle / (2 * math.pi)
        share = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        share = min(max(share, 0.0), 1.0)
        return share + (1 - share) / self.factor
