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


def whole_sweeps(directories: Sequence[Path]) -> list[Path]:
    """Return the sweeps of which every run that has a directory is among those given."""
    given = {directory.resolve() for directory in directories}
    sweeps = dict.fromkeys(directory.parent for directory in given)
    return sorted(sweep for sweep in sweeps if outcomes_in(sweep) and set(_there(sweep)) <= given)


def left_nothing(directories: Sequence[Path]) -> dict[str, str]:
    """Return how runs ended that have no directory, of sweeps of which all that have one are shown.

    Args:
        directories: Of the runs that are shown.

    Returns:
        Status by name; such as "out of memory" of a run that was refused before it began.
    """
    found: dict[str, str] = {}
    for sweep in whole_sweeps(directories):
        there = _there(sweep)
        found |= {name: status for name, status in outcomes_in(sweep).items() if sweep / name not in there}
    return found


def _there(sweep: Path) -> list[Path]:
    return [sweep / name for name in outcomes_in(sweep) if (sweep / name / "config.json").is_file()]
