"""Whether a run that is there is the one asked for: told before torch is imported, which takes seconds."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hornbook.bpe import Tokenizer
from hornbook.trainer import check_configuration, check_not_held, recorded_configuration

from .experiment import Experiment
from .flags import TrainFlags
from .machine import likely_device
from .texts import Texts, choose_texts, fingerprints

_MOST_BYTES = 2**29
# Settings that older runs lack: what was done before there was a choice, and the flag that says it.
_ADDED: dict[str, tuple[Any, str]] = {"deterministic": (False, "--no-deterministic")}


def check_resumed(flags: TrainFlags) -> None:
    """Refuse to go on with a run that is another: other settings, texts or tokenizer; or that is being run.

    With many processes the first one looks.

    Raises:
        ValueError: Naming both values.
    """
    if _is_other_process():
        return
    if flags.out is not None and recorded_configuration(flags.out) is None:
        return  # a new run: no text need be hashed for it
    texts = choose_texts(flags.texts)
    there = all(path.is_file() and path.stat().st_size <= _MOST_BYTES for path in (texts.train, texts.valid))
    ours = configuration_of(flags.experiment, texts, fingerprints(texts) if there else {})
    out = flags.out or (default_out(texts, flags.preset, ours) if there else None)
    recorded = None if out is None else recorded_configuration(out)
    if out is None or recorded is None:
        return
    ours = as_recorded(ours, out, likely_device(flags.device))
    if not there:  # to download or to hash them takes longer than torch: if they differ is told after it
        ours["text"] = recorded.get("text")
    check_configuration(out, ours)
    check_tokenizer(out)
    if not flags.dry_run:
        check_not_held(out)


def as_recorded(ours: dict[str, Any], out: Path, device_type: str) -> dict[str, Any]:
    """Return our configuration as it is recorded of a run that was begun before some settings were there.

    Args:
        ours: What this call asks for.
        out: The directory of the run, if there is one.
        device_type: cpu, cuda or mps.

    Raises:
        ValueError: If we ask for something else than was done then; the flag that goes on with it is named.
    """
    recorded = recorded_configuration(out)
    before = recorded.get("experiment") if isinstance(recorded, dict) else None
    if not isinstance(before, dict):
        return ours
    experiment = dict(ours["experiment"])
    for name in _ADDED.keys() - before.keys():
        done, flag = _ADDED[name]
        if experiment.pop(name) != done and device_type == "cuda":  # elsewhere both do the same
            msg = (
                f"{out} holds a run that was begun before there was a choice of {name}: "
                f"give {flag} to go on with it as it was begun, or choose another --out"
            )
            raise ValueError(msg)
    return ours | {"experiment": experiment}


def default_out(texts: Texts, preset: str, configuration: dict[str, Any]) -> Path:
    """Return the directory that belongs to these settings: the same command finds its run again."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / f"{texts.slug}-{preset}-{digest}"


def configuration_of(experiment: Experiment, texts: Texts, digests: dict[str, str]) -> dict[str, Any]:
    """Return what a run depends on, as its directory records it."""
    return {"experiment": experiment.as_json(), "text": {"name": texts.name, **digests}}


def check_tokenizer(run: Path) -> None:
    """Refuse a run whose tokenizer is not the one that its newest checkpoint was trained with.

    Raises:
        ValueError: Naming both fingerprints, or what is damaged in the tokenizer.
    """
    found = (run / "checkpoints").glob("step-*/state.json")
    states = sorted(found, key=lambda path: (len(path.parent.name), path.parent.name))
    tokenizer = run / "tokenizer"
    if not states or not tokenizer.exists():
        return
    try:
        trained_with = json.loads(states[-1].read_bytes())["run"]["tokenizer"]
    except (ValueError, KeyError, TypeError):  # a damaged one is told when it is loaded, and not used
        return
    fingerprint = Tokenizer.load(tokenizer).fingerprint
    if fingerprint != trained_with:
        msg = (
            f"{tokenizer} has the fingerprint {fingerprint}, "
            f"{states[-1].parent} was trained with {trained_with}: put that one back, or choose another --out"
        )
        raise ValueError(msg)


def _is_other_process() -> bool:
    return os.environ.get("RANK", "0") != "0"
