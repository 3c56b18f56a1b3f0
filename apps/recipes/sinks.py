"""Where the numbers of a run go, beside the CSV file."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook import trainer

from .console import ConsoleSink


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkFlags:
    """Where else the numbers of a run go; these can neither stop nor slow it."""

    tensorboard: bool = False
    """Write the curves for TensorBoard too, into tensorboard/ in the run's directory (extra tensorboard)."""
    wandb: str | None = None
    """Log the curves to this project in Weights & Biases too (extra wandb)."""

    def check(self) -> None:
        """Refuse what is not installed, before anything is done.

        Raises:
            ValueError: Naming the flag and how to install it.
        """
        for flag, wanted, module in (
            ("tensorboard", self.tensorboard, "tensorboardX"),
            ("wandb", self.wandb is not None, "wandb"),
        ):
            if wanted and importlib.util.find_spec(module) is None:
                msg = f"--{flag} needs {module}, which is not installed: uv sync --extra {flag}"
                raise ValueError(msg)


def make_sinks(
    flags: SinkFlags, directory: Path, config: trainer.LoopConfig, configuration: Mapping[str, Any]
) -> "list[trainer.Sink]":
    """Return all sinks of a run: its files and the console, and what the flags ask for."""
    sinks: list[trainer.Sink] = [
        trainer.CsvSink(directory / "metrics.csv"),
        trainer.JsonLinesSink(directory / "metrics.jsonl"),
        ConsoleSink(config),
    ]
    if flags.tensorboard:
        sinks.append(
            trainer.BackgroundSink(lambda: trainer.TensorBoardSink(directory / "tensorboard"), "TensorBoard")
        )
    if (project := flags.wandb) is not None:
        sinks.append(
            trainer.BackgroundSink(
                lambda: trainer.WandbSink(
                    project, run_id=directory.name, directory=directory, configuration=configuration
                ),
                "W&B",
            )
        )
    return sinks
