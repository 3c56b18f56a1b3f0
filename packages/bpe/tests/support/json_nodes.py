"""Every place of a JSON document, and the document with another value there."""

from typing import Any


def places(node: Any, path: tuple[Any, ...] = (), *, ends: int = 3, few: int = 30) -> list[tuple[Any, ...]]:
    """The way to every node; of more than `few` items in a list or object, to the first and last `ends`."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    chosen = [*keys][:ends] + [*keys][-ends:] if len(keys) > few else keys
    return [
        path,
        *(place for key in chosen for place in places(node[key], (*path, key), ends=ends, few=few)),
    ]


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = node.copy()
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy
