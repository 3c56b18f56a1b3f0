"""How the next token is drawn, as a frozen value."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ._checks import check_positive_int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the next token is drawn from the scores; the options work in the order of this list.

    That is the order of transformers' `generate`, too; each works on what the one before has left.

    Attributes:
        repetition_penalty: What the scores of tokens that the text already has, prompt included, are divided
            by where positive and multiplied by where negative (CTRL, Keskar et al., 2019); 1 changes nothing.
        temperature: What the scores are divided by: below 1 sharpens, above 1 flattens, and 0 always takes
            the most likely token.
        top_k: Keeps so many of the most likely tokens (Fan et al., 2018); None keeps all.
        top_p: Keeps the fewest, most likely tokens whose probability reaches it (nucleus sampling, Holtzman
            et al., 2019); 1 keeps all.
        min_p: Keeps tokens whose probability is at least this part of the greatest (Nguyen et al., 2024); 0
            keeps all.

    Raises:
        TypeError: If a value is not a number, or `top_k` not an int.
        ValueError: If a value is out of its range.

    Example:
        >>> Sampling(temperature=0.8, top_p=0.95).top_k is None
        True
    """

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        ranges: tuple[tuple[str, str, Callable[[float], bool]], ...] = (
            ("repetition_penalty", "positive and finite (1 changes nothing)", lambda x: 0 < x < math.inf),
            (
                "temperature",
                "finite and at least 0 (0 takes the most likely token)",
                lambda x: 0 <= x < math.inf,
            ),
            ("top_p", "above 0 and at most 1 (1 keeps every token)", lambda x: 0 < x <= 1),
            ("min_p", "from 0 (which keeps every token) to 1", lambda x: 0 <= x <= 1),
        )
        for name, rule, allowed in ranges:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                msg = f"{name} must be a number, got {value!r} of type {type(value).__name__}"
                raise TypeError(msg)
            if not allowed(value):
                msg = f"{name} must be {rule}, got {value}"
                raise ValueError(msg)
        if self.top_k is not None:
            check_positive_int("top_k", self.top_k)

    def check_vocabulary(self, vocab_size: int) -> None:
        """Refuse to keep more tokens than there are.

        Args:
            vocab_size: Number of tokens.

        Raises:
            ValueError: If `top_k` is greater.
        """
        if self.top_k is not None and self.top_k > vocab_size:
            msg = f"top_k is {self.top_k}, more than the vocabulary of {vocab_size} tokens; None keeps all"
            raise ValueError(msg)


PLAIN = Sampling()
"""As the model says: each token with its probability."""

GREEDY = Sampling(temperature=0.0)
"""Always the most likely token."""
