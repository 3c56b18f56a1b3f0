"""How long work tells its caller how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called as `progress(stage, done, total)`.

Stages "count" and "encode" are in bytes of the source (compressed bytes, where it is compressed), "merge" in
merges. The total is None where nobody knows it: of a stream. It is always called from the thread that
started the work; an exception raised by it stops the work and reaches the caller.
"""
