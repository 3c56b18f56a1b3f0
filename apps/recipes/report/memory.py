"""The memory of a run as a report tells it: what the formulas say, and what was measured."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hornbook.nn import TransformerConfig

from ..experiment import Experiment
from ..memory import predicted_memory


def predicted_bytes(experiment: Any, shape: TransformerConfig | None, about: Mapping[str, Any]) -> int | None:
    """Return the peak of a training step by formula, on the device that the run was on.

    Args:
        experiment: As config.json has it; it may be of another version, or damaged.
        shape: Of the model, as it was trained.
        about: What is recorded of the machine.

    Returns:
        Bytes in one process; None if it can't be told.
    """
    if shape is None:
        return None
    try:
        run = replace(Experiment.from_json(experiment), model=shape)
        device_type = str(about["device"]).split()[0].split(":")[0]
        return predicted_memory(run, device_type, int(about.get("processes", 1))).peak_bytes
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
