"""A run of a sweep: a name, and what it changes in the experiment that all share."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..experiment import Experiment
from ..nearest import nearest
from ..prepare import check_vocab_size

MAX_LR, MIN_LR = "optimizer.max_lr", "schedule.min_lr"


@dataclass(frozen=True, slots=True)
class Point:
    """One run."""

    name: str  # of its directory
    changes: tuple[tuple[str, Any], ...]  # dotted field and value

    def value(self, field: str) -> Any:
        """Return what a field is changed to; None if it isn't changed."""
        return dict(self.changes).get(field)


def point(changes: Mapping[str, Any], *, shown: Sequence[str] | None = None, prefix: str = "") -> Point:
    """Return the point of some changes, named after them.

    Args:
        changes: Dotted field and value.
        shown: The fields that the name tells; all, if not given.
        prefix: Begins the name.

    Example:
        >>> point({"optimizer.max_lr": 3e-3, "seed": 1}).name
        'max_lr-0.003_seed-1'
    """
    told = changes if shown is None else {name: changes[name] for name in shown}
    parts = [f"{name.rsplit('.', 1)[-1]}-{_word(value)}" for name, value in told.items()]
    return Point("_".join([prefix] * bool(prefix) + parts), tuple(changes.items()))


def changed(experiment: Experiment, changes: Sequence[tuple[str, Any]]) -> Experiment:
    """Return the experiment with some fields changed, checked as a whole.

    Where `optimizer.max_lr` is changed and `schedule.min_lr` is not, the rate falls by the same factor as
    before, so that one number says how large the rates are.

    Raises:
        ValueError: If a field is not there, or the experiment can't be.
    """
    settings = dict(changes)
    if MAX_LR in settings and MIN_LR not in settings and experiment.optimizer.max_lr > 0:
        ratio = experiment.schedule.min_lr / experiment.optimizer.max_lr
        settings[MIN_LR] = settings[MAX_LR] * ratio
    # All fields of one part at once: one after another, a valid whole could pass through invalid ones.
    parts: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        part, _, leaf = name.rpartition(".")
        parts.setdefault(part, {})[leaf] = value
    whole = parts.pop("", {})
    for part, values in parts.items():
        whole[part] = replace(getattr(experiment, part), **values)
    result = replace(experiment, **whole)
    check_vocab_size(result.model.vocab_size)
    return result


def parse_grid(words: Sequence[str], experiment: Experiment, *, flag: str = "--grid") -> dict[str, list[Any]]:
    """Read `field=value,value,…`: which values each field takes.

    Args:
        words: As they were given; a field by its dotted name, or its last part where that tells it.
        experiment: Whose fields they are.
        flag: What they were given with, for errors.

    Raises:
        ValueError: If a field is unknown (the nearest is named), given twice, or a value can't be its.
    """
    types = _types(experiment)
    grid: dict[str, list[Any]] = {}
    for word in words:
        given, equals, values = word.partition("=")
        if not equals or not values:
            msg = f"{flag} {word}: expected FIELD=VALUE,VALUE,…, such as {flag} optimizer.max_lr=1e-3,3e-3"
            raise ValueError(msg)
        name = _full_name(given.strip().replace("-", "_"), types, flag)
        if name in grid:
            msg = f"{flag} {name} is given twice: give all its values at once"
            raise ValueError(msg)
        grid[name] = [_parse(name, value.strip(), types[name], flag) for value in values.split(",")]
        for value in grid[name]:
            changed(experiment, [(name, value)])
    return grid


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Return a point for every combination of values.

    Example:
        >>> [p.name for p in combinations({"seed": [0, 1], "batch_size": [4]})]
        ['seed-0_batch_size-4', 'seed-1_batch_size-4']
    """
    return [point(dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def _types(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves that a grid may change, with their types; TransformerConfig's and our own."""
    hints = get_type_hints(type(value))
    found: dict[str, Any] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            found |= _types(inner, f"{prefix}{field.name}.")
        else:
            found[f"{prefix}{field.name}"] = hints[field.name]
    return found


def _full_name(given: str, types: Mapping[str, Any], flag: str) -> str:
    matches = [given] if given in types else [name for name in types if name.rsplit(".", 1)[-1] == given]
    if len(matches) == 1:
        return matches[0]
    if matches:
        msg = f"{flag} {given} may mean {' or '.join(matches)}: give the whole name"
        raise ValueError(msg)
    short = {name.rsplit(".", 1)[-1]: name for name in types}
    near = nearest(given, [*types, *short])
    msg = f"{flag} {given}: there is no such field; the nearest is {short.get(near, near)}"
    raise ValueError(msg)


def _parse(name: str, text: str, kind: Any, flag: str) -> Any:
    """Read a value as its field's type has it."""
    options = get_args(kind) if get_origin(kind) is not Literal else (kind,)
    if not options or get_origin(kind) is tuple:
        options = (kind,)
    allowed: list[str] = []
    for option in options:
        if get_origin(option) is Literal:
            allowed += map(str, get_args(option))
            if text in get_args(option):
                return text
        elif option is type(None) and text.lower() == "none":
            return None
        elif option is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        elif option in (int, float):
            try:
                return option(text)
            except ValueError:
                continue
    if allowed:
        choices = ", ".join(allowed)
        msg = f"{flag} {name}={text}: it must be one of {choices}; the nearest is {nearest(text, allowed)}"
    else:
        names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
        msg = f"{flag} {name}={text}: it must be {names.replace('NoneType', 'none')}"
    raise ValueError(msg)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
