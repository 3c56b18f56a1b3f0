"""Where a run stands: what the loop counts, and a checkpoint keeps."""

import math
from dataclasses import asdict, dataclass

from .strict_json import Json


@dataclass(kw_only=True, slots=True)
class Progress:
    """Counters of a run over all its calls."""

    step: int = 0
    """Updates done, those that were left out among them."""
    tokens: int = 0
    """Tokens seen, by all processes."""
    skipped_steps: int = 0
    """Updates left out because a loss or a gradient was not finite."""
    best_loss: float | None = None
    """Smallest loss of an evaluation so far, and the step it was found at."""
    best_step: int = 0
    evaluations_since_best: int = 0

    def is_best(self, loss: float) -> bool:
        """Take in the loss of an evaluation and tell whether it is the smallest so far."""
        if self.best_loss is not None and not loss < self.best_loss:
            self.evaluations_since_best += 1
            return False
        self.best_loss, self.best_step, self.evaluations_since_best = loss, self.step, 0
        return True

    def is_out_of_patience(self, patience: int | None) -> bool:
        """Tell whether so many evaluations in a row brought nothing better."""
        return self.evaluations_since_best >= (math.inf if patience is None else patience)

    def state(self) -> Json:
        """Return what a checkpoint keeps; `Progress(**state)` is the same again."""
        return asdict(self)
