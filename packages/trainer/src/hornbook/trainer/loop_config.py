"""How long a run is and how often it looks, as a frozen value."""

import math
from dataclasses import dataclass

_COUNTS = ("eval_interval_steps", "checkpoint_interval_steps", "log_interval_steps")
_OPTIONAL_COUNTS = ("num_steps", "max_tokens", "micro_batch_size", "patience")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long to train and how often to look. The first limit that is reached ends the run."""

    num_steps: int | None = None
    """Updates in all; None: no limit."""
    max_tokens: int | None = None
    """Tokens in all: the run ends with the update that reaches them; None: no limit."""
    max_seconds: float | None = None
    """Seconds of running in all, evaluations and checkpoints included, pauses between runs not: the run ends
    with the update that reaches them, and evaluates and saves after it; None: no limit."""
    micro_batch_size: int | None = None
    """Windows that go through the model at once; the gradients of a batch are their sum. It changes the
    memory needed and, but for rounding, nothing else. None: the whole batch."""
    max_grad_norm: float = 1.0
    """Gradients whose global norm is greater are scaled down to it."""
    max_skipped_steps: int = 0
    """Updates that may be left out because their loss or gradient was not finite; one more ends the run."""
    eval_interval_steps: int
    """Evaluate after every so many updates, and after the last."""
    checkpoint_interval_steps: int
    """Save after every so many updates, after the last, and when asked to stop."""
    log_interval_steps: int = 1
    """Log every so many updates, every evaluated one and the last."""
    patience: int | None = None
    """Stop after so many evaluations in a row without a better loss; None: never."""
    keep_best: bool = False
    """Save as well when an evaluation is the best so far, and keep that checkpoint."""

    def __post_init__(self) -> None:
        """Refuse what no run can have."""
        for name in (*_COUNTS, *_OPTIONAL_COUNTS):
            value = getattr(self, name)
            if value is None and name in _OPTIONAL_COUNTS:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                msg = f"{name} must be a whole number of at least 1, got {value!r}"
                raise ValueError(msg)
        if self.num_steps is None and self.max_tokens is None and self.max_seconds is None:
            msg = "the run would never end: give num_steps, max_tokens or max_seconds"
            raise ValueError(msg)
        if self.max_seconds is not None and not 0 < self.max_seconds < math.inf:
            msg = f"max_seconds must be greater than 0 and finite, got {self.max_seconds!r}"
            raise ValueError(msg)
        if self.max_skipped_steps < 0:
            msg = f"max_skipped_steps must be at least 0, got {self.max_skipped_steps}"
            raise ValueError(msg)
        if not self.max_grad_norm > 0:
            msg = f"max_grad_norm must be greater than 0 (inf for no clipping), got {self.max_grad_norm!r}"
            raise ValueError(msg)

    @property
    def wants_best(self) -> bool:
        """Whether anything depends on which evaluation was the best."""
        return self.keep_best or self.patience is not None

    def fraction(self, *, step: int, tokens: int, seconds: float) -> float:
        """Return the share of the run that is past: that of the limit that is nearest; 1 where it has ended.

        Example:
            >>> config = LoopConfig(
            ...     num_steps=100, max_seconds=60.0, eval_interval_steps=1, checkpoint_interval_steps=1
            ... )
            >>> [config.fraction(step=20, tokens=0, seconds=seconds) for seconds in (6.0, 45.0)]
            [0.2, 0.75]
        """
        limits = ((step, self.num_steps), (tokens, self.max_tokens), (seconds, self.max_seconds))
        return min(1.0, max(done / limit for done, limit in limits if limit is not None))
