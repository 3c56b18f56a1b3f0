"""The two JSON files of a checkpoint, manifest and state: what they must say, and how damage is told."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import NoneType

from .files import open_regular
from .shards import shard_names
from .strict_json import MOST_BYTES, Json, dump, parse_object

VERSION = 2
KINDS = ("model", "training", "extra")
WHOLE = tuple(f"{kind}.safetensors" for kind in KINDS)
STATE, MANIFEST = "state.json", "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file and the reason."""


class CheckpointVersionError(ValueError):
    """A checkpoint of another hornbook. It is not damaged: it is neither skipped nor deleted."""

    def __init__(self, path: object, version: object) -> None:
        super().__init__(
            f"{path} has version {version!r}, this hornbook reads version {VERSION}, and it is not damaged: "
            "use the hornbook that wrote it, or put it elsewhere to go on without it"
        )


def read_small(path: Path) -> bytes:
    """Read a file of JSON, not more of it than can be parsed."""
    with open_regular(path) as file:
        return file.read(MOST_BYTES + 1)  # one more is refused by what parses it


def parse_manifest(raw: bytes) -> Json:
    """Return what a manifest says.

    Raises:
        ValueError: If it is not as we write it; the message goes on where the name of its file ends.
    """
    manifest = parse_object(raw)
    _check_version(manifest)
    # The names come from here, never from the manifest: it can't point elsewhere.
    in_shards = shard_names(len(manifest) - 2)
    possible = [("version", *files, STATE) for files in (WHOLE, in_shards)]
    if tuple(manifest) not in possible or dump(manifest, indent=1) != raw:
        msg = f"is not as it was written: it names {', '.join(map(repr, manifest))[:200]}"
        raise ValueError(msg)
    for name in manifest.keys() - {"version"}:
        expected = {"bytes": int, "sha256": str} | ({} if name == STATE else {"header_sha256": str})
        if {key: type(value) for key, value in manifest[name].items()} != expected:
            msg = f"says of {name} {str(manifest[name])[:200]}"
            raise ValueError(msg)
    return manifest


def other_version(path: Path, manifest_raw: bytes) -> int | None:
    """Return the version that manifest and state both name, if it is not ours: then nothing is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        manifest = parse_object(manifest_raw)
        raw = read_small(path / STATE)
        check_digest(hashlib.sha256(raw).hexdigest(), manifest[STATE]["sha256"])
        version = parse_object(raw)["version"]
        if type(version) is int and version == manifest["version"] != VERSION:
            return version
    return None


def parse_state(raw: bytes) -> Json:
    """Return what a state says.

    Raises:
        ValueError: As for `parse_manifest`.
    """
    described = parse_object(raw)
    _check_version(described)
    expected = {"step": int, "wallclock_seconds": float, "aliases": dict, "optimizer": dict, "run": dict}
    expected |= {"about": dict, "extra": dict}
    for key, kind in expected.items():
        if not isinstance(described.get(key), kind):
            msg = f"says {str(described.get(key))[:200]} of {key!r}, a {kind.__name__} is expected"
            raise ValueError(msg)
    if not isinstance(described["metric"], float | NoneType):
        msg = f"says {str(described['metric'])[:200]} of 'metric'"
        raise ValueError(msg)
    return described


def _check_version(described: Json) -> None:
    if described.get("version") != VERSION:
        msg = f"has version {described.get('version')!r}, this hornbook reads version {VERSION}"
        raise ValueError(msg)


def check_digest(sha256: str, recorded: str) -> None:
    """Refuse bytes that are not those which were written.

    Raises:
        ValueError: As for `parse_manifest`.
    """
    if sha256 != recorded:
        msg = "has changed since it was written (its SHA-256 differs)"
        raise ValueError(msg)


@contextmanager
def damage_named(file: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file into a CheckpointError that names it."""
    try:
        yield
    except (CheckpointError, CheckpointVersionError, PermissionError):
        raise
    except FileNotFoundError as error:
        msg = f"{file} is missing"
        raise CheckpointError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{file} {error}"
        raise CheckpointError(msg) from error
