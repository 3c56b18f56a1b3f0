"""Count the pretokens of a file, over as many processes as asked."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .cuts import PIECE_BYTES, blocks, file_pieces, text_cuts
from .pool import run_job
from .pretokenize import pretokenize
from .progress import Progress
from .special import SpecialSplitter


def count_pretokens(
    path: Path,
    special_tokens: Sequence[str],
    num_processes: int,
    progress: Progress | None = None,
    *,
    piece_bytes: int = PIECE_BYTES,
) -> Counter[str]:
    """How often each pretoken occurs in the file, special tokens apart.

    The counts do not depend on `num_processes` and `piece_bytes`.
    """
    pieces = file_pieces(path, special_tokens, piece_bytes)
    results = run_job(CountJob(special_tokens), path, pieces, num_processes)
    for (_, end), _ in zip(pieces, results):  # noqa: B905 - after the pieces come the tables, read below
        if progress is not None:
            progress("count", end, pieces[-1][1])
    counts: Counter[str] = Counter()
    for table in results:
        counts.update(json.loads(table))
    return counts


class CountJob:
    """Counts pieces into one table and hands it over at the end."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        self._special_tokens = list(special_tokens)
        self._cuts = text_cuts(special_tokens)
        self._splitter = SpecialSplitter(special_tokens)
        self._counts: Counter[str] = Counter()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make the job again in another process."""
        return cls(settings["special_tokens"])

    def settings(self) -> dict[str, Any]:
        """What a worker must know."""
        return {"job": "count", "special_tokens": self._special_tokens}

    def piece(self, text: str) -> bytes:
        """Count one piece; there is nothing to say about it alone."""
        for block in blocks([text], self._cuts):
            for segment in self._splitter.split(block)[::2]:
                self._counts.update(pretokenize(segment))
        return b""

    def finish(self) -> bytes:
        """The table as JSON."""
        return json.dumps(self._counts).encode()
