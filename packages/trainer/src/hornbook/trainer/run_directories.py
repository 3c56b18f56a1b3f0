"""The directory of a run: one configuration, one process at a time."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .background_save import saves_on_their_way
from .configuration import as_json, first_difference
from .files import atomic_file, delete, is_leftover, made_directory, remove_leftovers
from .run_lock import RunDirectoryError, held, is_lock
from .strict_json import parse_object

_VERSION = 1  # of config.json


def check_configuration(directory: Path, configuration: Mapping[str, Any]) -> bool:
    """Tell whether `directory` already holds a run of exactly this configuration.

    Args:
        directory: May be missing or empty: then there is no run yet.
        configuration: What the run depends on, as JSON values.

    Raises:
        RunDirectoryError: If it holds a run of another configuration (the first difference is named, with
            both values), something that is not a run, or is not a directory.
    """
    found = recorded_configuration(directory)
    if found is None:
        return False
    difference = first_difference(configuration, found)
    if difference is not None:
        msg = (
            f"{directory} holds a run with {difference}: "
            "choose another --out, or the same settings to go on with it"
        )
        raise RunDirectoryError(msg)
    return True


def recorded_configuration(directory: Path) -> Any:
    """Return the configuration of the run that a directory holds, None if it is missing or empty.

    Raises:
        RunDirectoryError: If it holds something that is not a run, or is not a directory.
    """
    if not directory.exists():
        return None
    if not directory.is_dir():
        msg = f"{directory} is a file, not a directory: choose another --out"
        raise RunDirectoryError(msg)
    path = directory / "config.json"
    if not path.exists():
        # Hidden files count as well: a new run that fails removes all it finds here.
        strangers = sorted(p.name for p in directory.iterdir() if not is_lock(p) and not is_leftover(p))
        if strangers:
            msg = f"{directory} is not empty and holds no run ({strangers[0]} is in it): choose another --out"
            raise RunDirectoryError(msg)
        return None
    try:
        recorded = parse_object(path.read_bytes())
        version, run = recorded.get("version"), recorded["run"]
    except (ValueError, KeyError) as error:
        msg = f"{path} is not the configuration of a run: {error!r}"
        raise RunDirectoryError(msg) from error
    if version != _VERSION:
        msg = f"{path} has version {version!r}, this hornbook reads version {_VERSION}: choose another --out"
        raise RunDirectoryError(msg)
    return run


@contextmanager
def run_directory(
    directory: Path, configuration: Mapping[str, Any], *, about: Mapping[str, Any]
) -> Iterator[Path]:
    """Hold a run's directory, new or old, while the block runs.

    Makes it, writes `config.json`, and locks it against a second process; the lock of a dead process is no
    lock. A new directory is removed again if the block fails before it held a checkpoint; a run that diverged
    is kept.

    Args:
        directory: Of the run.
        configuration: What the run depends on; must be the same when it is resumed.
        about: What is worth knowing about the run and may change when it is resumed: versions, machine.

    Raises:
        RunDirectoryError: As for `check_configuration`, and if another process holds the directory.
        OSError: If it can't be made or written.
    """
    check_configuration(directory, configuration)  # before anything is made
    with made_directory(directory), held(directory):
        old = check_configuration(directory, configuration)  # another process may have been here in between
        try:
            remove_leftovers(directory)
            if not old:
                with atomic_file(directory / "config.json") as file:
                    recorded = {"version": _VERSION, "run": as_json(configuration), "about": as_json(about)}
                    file.write(json.dumps(recorded, indent=2).encode() + b"\n")
            yield directory
        except ArithmeticError:  # a run that diverged is a result: its curve stays
            raise
        except BaseException:
            saved = any((directory / "checkpoints").glob("step-*")) or saves_on_their_way()
            if not old and not saved:
                _empty(directory)
            raise


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        delete(path)
