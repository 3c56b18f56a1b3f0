"""Two configurations as JSON, and where they differ."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any


def first_difference(ours: Mapping[str, Any], theirs: Any) -> str | None:
    """Say at which value a configuration differs from one that was read from JSON, None if at none.

    Example:
        >>> first_difference({"model": {"d_model": 8}, "seed": 0}, {"model": {"d_model": 4}, "seed": 0})
        'model.d_model = 4, this one has 8'
        >>> first_difference({"model": {"d_model": 8}, "seed": 0}, {"model": {"d_model": 4}, "seed": 1})
        'model.d_model = 4, this one has 8 (differs as well: seed)'
    """
    found = list(_differences("", as_json(ours), theirs))
    if not found:
        return None
    (name, mine, other), *others = found
    too = f" (differs as well: {', '.join(more for more, _, _ in others)})" if others else ""
    return f"{name} = {json.dumps(other)}, this one has {json.dumps(mine)}{too}"


def as_json(value: Any) -> Any:
    """Return a configuration as it is written and read again: tuples are lists, infinity is a word.

    Example:
        >>> as_json({"betas": (0.9, 0.95), "max_grad_norm": float("inf")})
        {'betas': [0.9, 0.95], 'max_grad_norm': 'inf'}
    """
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _differences(prefix: str, ours: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every leaf at which two JSON values differ: its dotted name and both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _differences(f"{prefix}.{key}" if prefix else key, ours.get(key), theirs.get(key))
    elif ours != theirs:
        yield prefix, ours, theirs
