"""How long work tells its caller how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as `progress(stage, done, total)`: "count" and "encode" in bytes of the file, "merge" in merges.

An exception raised by it stops the work and reaches the caller.
"""
