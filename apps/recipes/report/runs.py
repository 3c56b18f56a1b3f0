"""Runs as a report reads them: whatever is in a directory is data, may be damaged, and is never trusted."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hornbook.bpe import Tokenizer
from hornbook.nn import TransformerConfig

from ..peak import read_peak
from .memory import predicted_bytes
from .outcomes import outcomes_in

MAX_SAMPLE_CHARACTERS = 20_000
MAX_RUNS = 200
CUT_SHORT = ("diverged", "out of memory", "pruned")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known of one run."""

    directory: Path
    name: str
    settings: dict[str, Any]  # dotted name to value
    text: str
    about: dict[str, Any]
    results: dict[str, Any]
    columns: dict[str, list[float | None]]  # of metrics.csv
    samples: str
    status: str
    shape: TransformerConfig | None  # as it was trained: a small text gives fewer tokens than asked for
    predicted_bytes: int | None = None  # peak of a training step in one process, by formula
    peak_bytes: int | None = None  # the same measured
    problems: list[str] = field(default_factory=list)

    def last(self, column: str) -> float | None:
        """Return the last number of a column."""
        return next((value for value in reversed(self.columns.get(column, [])) if value is not None), None)

    @property
    def cut_short(self) -> str:
        """What ended it before its end: diverged, out of memory or pruned; empty if nothing did."""
        return next((word for word in CUT_SHORT if self.status.startswith(word)), "")

    @property
    def loss(self) -> float | None:
        """Validation loss at the end, or the last there is; nats a token."""
        return _number(self.results.get("val_loss")) or self.last("val_loss")


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Return the directories of runs that paths name: each is one, or holds some.

    Raises:
        ValueError: If a path is no run and holds none, or there are too many to look at.
    """
    found: list[Path] = []
    for path in paths:
        if (path / "config.json").is_file():
            found.append(path)
            continue
        inside = sorted(file.parent for file in path.glob("[!.]*/config.json")) if path.is_dir() else []
        if not inside:
            msg = f"{path} is no run and holds none: a run has a config.json (train one: apps/train_ts.py)"
            raise ValueError(msg)
        found += inside
    if not found:
        msg = "give at least one run to report on, such as runs/tinystories-demo-1a2b3c4d"
        raise ValueError(msg)
    unique = list({path.resolve(): path for path in found}.values())
    if len(unique) > MAX_RUNS:
        msg = f"{len(unique)} runs are more than a page can show; give at most {MAX_RUNS}"
        raise ValueError(msg)
    return unique


def read_runs(directories: Sequence[Path]) -> list[RunRecord]:
    """Read what can be read of each; what can't is noted in `problems`, and nothing of it is run.

    Raises:
        ValueError: If a config.json is not that of a run.
    """
    names = short_names(directories)
    return [_read(directory, name) for directory, name in zip(directories, names, strict=True)]


def described(runs: Sequence[RunRecord], files: Sequence[Path]) -> list[str]:
    """Return in lines what a report would show, and what would be written."""
    lines = [
        f"{run.directory}: {run.status}, "
        + ("not evaluated yet" if run.loss is None else f"validation loss {run.loss:.4f}")
        for run in runs
    ]
    return [*lines, *(f"would write {path}" for path in files)]


def short_names(directories: Sequence[Path]) -> list[str]:
    """Return the last part of each path, with as many parts before it as tell them apart.

    Example:
        >>> short_names([Path("runs/a"), Path("old/a"), Path("b")])
        ['runs/a', 'old/a', 'b']
    """
    absolute = [directory.resolve().parts for directory in directories]
    names = []
    for parts in absolute:
        length = 1
        while length < len(parts) and sum(other[-length:] == parts[-length:] for other in absolute) > 1:
            length += 1
        names.append("/".join(parts[-length:]))
    return names


def differing(runs: Sequence[RunRecord]) -> list[str]:
    """Return the settings in which runs differ, in their order.

    Settings that follow from others are left to the reader to see.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    return [name for name in names if len({_frozen(run.settings.get(name)) for run in runs}) > 1]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested JSON objects under dotted names.

    Example:
        >>> flatten({"model": {"d_model": 16}, "seed": 0})
        {'model.d_model': 16, 'seed': 0}
    """
    if not isinstance(value, dict):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _read(directory: Path, name: str) -> RunRecord:
    problems: list[str] = []
    config = _json(directory / "config.json", problems)
    run, about = config.get("run"), config.get("about")
    if not isinstance(run, dict):
        why = "; ".join(problems) or "it has no `run`"
        msg = f"{directory / 'config.json'} is not the configuration of a run: {why}"
        raise ValueError(msg)
    experiment = run.get("experiment")
    text = run.get("text")
    results = _json(directory / "results.json", problems) if (directory / "results.json").exists() else {}
    columns = _metrics(directory / "metrics.csv", problems)
    settings = flatten(experiment if isinstance(experiment, dict) else run)
    shape = _shape(directory, experiment, problems)
    return RunRecord(
        directory=directory,
        name=name,
        settings=settings,
        text=str(text.get("name", "")) if isinstance(text, dict) else "",
        about=about if isinstance(about, dict) else {},
        results=results,
        columns=columns,
        samples=_samples(directory / "samples.txt", problems),
        status=_status(directory, results, columns, settings, shape),
        shape=shape,
        predicted_bytes=predicted_bytes(experiment, shape, about if isinstance(about, dict) else {}),
        peak_bytes=read_peak(directory),
        problems=problems,
    )


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name} can't be read: {error}")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} holds no object")
        return {}
    return content


def _metrics(path: Path, problems: list[str]) -> dict[str, list[float | None]]:
    """Read every column by its name: other versions have other columns."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name} can't be read: {error.strerror}")
        return {}
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))  # a kill may have cut the last one
    if not lines:
        problems.append(f"{path.name} is empty")
        return {}
    head, rows = lines[0], [line for line in lines[1:] if len(line) == len(lines[0])]
    if len(rows) < len(lines) - 1:
        problems.append(f"{path.name}: {len(lines) - 1 - len(rows)} lines are not whole and left out")
    return {name: [_number(row[index]) for row in rows] for index, name in enumerate(head)}


def _number(value: object) -> float | None:
    """Return a finite number, else None: a curve has a gap there."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _samples(path: Path, problems: list[str]) -> str:
    if not path.exists():
        return ""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path.name} can't be read: {error.strerror}")
        return ""
    return text if len(text) <= MAX_SAMPLE_CHARACTERS else f"{text[:MAX_SAMPLE_CHARACTERS]} …"


def _status(
    directory: Path,
    results: Mapping[str, Any],
    columns: Mapping[str, list[float | None]],
    settings: Mapping[str, Any],
    shape: TransformerConfig | None,
) -> str:
    """Say how a run ended, or where it is."""
    if results:
        loss = _number(results.get("val_loss"))
        guessing = loss is not None and shape is not None and loss >= math.log(shape.vocab_size)
        return "no better than guessing" if guessing else "finished"
    outcome = outcomes_in(directory.parent).get(directory.name, "")
    steps = [step for step in columns.get("step", []) if step is not None]
    at = f"step {steps[-1]:,.0f}" if steps else "the start"
    skipped = settings.get("loop.max_skipped_steps", 0)
    if isinstance(skipped, int) and _num_lines(directory / "bad_steps.jsonl") > skipped:
        return f"diverged at {at}"
    if outcome in CUT_SHORT:
        return f"{outcome} at {at}"
    num_steps = settings.get("loop.num_steps")
    return f"at {at} of {num_steps:,}" if isinstance(num_steps, int) else f"at {at}"


def _num_lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _shape(directory: Path, experiment: Any, problems: list[str]) -> TransformerConfig | None:
    try:
        fields = dict(experiment["model"])
        if (directory / "tokenizer").is_dir():
            fields["vocab_size"] = Tokenizer.load(directory / "tokenizer").vocab_size
        return TransformerConfig.from_fields(fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.append(f"the model's shape can't be told: {error}")
        return None


def _frozen(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
