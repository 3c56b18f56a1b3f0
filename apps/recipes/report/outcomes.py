"""What a sweep says of its runs, as a report reads it: some were ended early, some left nothing behind."""

import json
from collections.abc import Sequence
from pathlib import Path


def outcomes_in(directory: Path) -> dict[str, str]:
    """Return how the runs of a sweep ended, by name; nothing, if the directory is no sweep's or damaged."""
    try:
        content = json.loads((directory / "outcomes.json").read_bytes())
        return {str(name): str(fields["status"]) for name, fields in content.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def left_nothing(directories: Sequence[Path]) -> dict[str, str]:
    """Return how runs ended that have no directory, of sweeps of which all that have one are shown.

    Args:
        directories: Of the runs that are shown.

    Returns:
        Status by name; such as "out of memory" of a run that was refused before it began.
    """
    shown = {directory.resolve() for directory in directories}
    found: dict[str, str] = {}
    for sweep in dict.fromkeys(directory.resolve().parent for directory in directories):
        outcomes = outcomes_in(sweep)
        there = {name for name in outcomes if (sweep / name / "config.json").is_file()}
        if {sweep / name for name in there} <= shown:
            found |= {name: status for name, status in outcomes.items() if name not in there}
    return found
