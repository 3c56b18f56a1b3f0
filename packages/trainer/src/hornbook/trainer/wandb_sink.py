"""Curves in Weights & Biases (extra `wandb`)."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .evaluation import Evaluation
from .logs import Row


class WandbSink:
    """Logs each row to a run of W&B; wrap it in a `BackgroundSink`. Its settings come from its environment.

    Args:
        project: Where the run appears.
        run_id: What tells runs apart: the same again goes on with the same curves.
        directory: Where it keeps its own files.
        configuration: Shown beside the curves.

    Raises:
        ImportError: If wandb is not installed.
    """

    def __init__(
        self,
        project: str,
        *,
        run_id: str,
        directory: str | os.PathLike[str],
        configuration: Mapping[str, Any],
    ) -> None:
        import wandb  # type: ignore[import-not-found]  # here: never imported unless asked for

        self._run = wandb.init(
            project=project,
            id=run_id,
            name=run_id,
            resume="allow",
            dir=str(directory),
            config=dict(configuration),
        )

    def start(self, step: int) -> None:
        """Nothing: W&B takes no step twice."""

    def log(self, row: Row) -> None:
        """Log the numbers of the row."""
        values = {name: value for name, value in asdict(row).items() if value is not None}
        self._run.log(values, step=values.pop("step"))

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Nothing: its numbers are in the row."""

    def close(self) -> None:
        """Upload the rest."""
        self._run.finish()
