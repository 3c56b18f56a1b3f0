"""What a tokenizer makes of a text, in numbers."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress
from ..tokenizer import Tokenizer
from .ids import count_ids, read_ids
from .tokenizers import special_ids

PILE_BYTES = 825e9
"""The Pile (Gao et al. 2020), which Stanford CS336 asks about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One tokenizer on one text. Special tokens count neither as bytes nor as tokens: they are no text."""

    text: str
    tokenizer: str
    num_bytes: int
    num_tokens: int
    bytes_per_token: float | None  # None for a text without tokens
    num_documents: int | None  # None if the tokenizer lacks the token that ends them
    sampled_documents: list[int]  # their numbers; the first is 0
    sampled_bytes_per_token: float | None
    seconds: float  # to read the text, encode it and write the ids
    bytes_per_second: float  # special tokens included
    pile_seconds: float | None
    num_unused: int  # ordinary tokens that the text never needs
    longest_unused: list[bytes]


def measure(
    tokenizer: Tokenizer,
    name: str,
    text: str,
    *,
    document_end: str,
    num_sampled: int,
    seed: int,
    num_threads: int | None,
    progress: Progress,
) -> Measurement:
    """Encode a text into a token file, which is thrown away, and count in it.

    Args:
        tokenizer: The tokenizer.
        name: Its name.
        text: The text, as for `Tokenizer.encode_file`.
        document_end: The special token that ends a document.
        num_sampled: How many documents to draw.
        seed: Decides which; the same for every tokenizer.
        num_threads: Threads that encode.
        progress: Called with stage "encode".
    """
    specials = list(special_ids(tokenizer).values())
    with TemporaryDirectory(prefix="hornbook-bpe-") as folder:
        path = Path(folder, "tokens.bin")
        began = time.perf_counter()
        manifest = tokenizer.encode_file(
            text, path, num_threads=num_threads, document_end=document_end, progress=progress
        )
        seconds = time.perf_counter() - began
        counts = count_ids(path, manifest.dtype, tokenizer.vocab_size)
        starts = _document_starts(path, document_end in tokenizer.special_tokens, manifest.num_tokens)
        drawn = [] if starts is None else draw(len(starts) - 1, num_sampled, seed)
        sampled = np.zeros(tokenizer.vocab_size, np.int64)
        for index in drawn:
            begin, end = starts[index : index + 2].tolist() if starts is not None else (0, 0)
            for ids in read_ids(path, manifest.dtype, begin, end):
                sampled += np.bincount(ids, minlength=len(sampled))
    lengths = np.fromiter(map(len, tokenizer.vocab.values()), np.int64, tokenizer.vocab_size)
    speed = int(lengths @ counts) / seconds
    unused = counts == 0
    unused[specials] = False
    vocab = tokenizer.vocab
    longest = sorted(np.flatnonzero(unused).tolist(), key=lambda i: (-len(vocab[i]), i))[:5]
    return Measurement(
        text=text,
        tokenizer=name,
        num_bytes=int(tokenizer.token_num_bytes @ counts),
        num_tokens=int(counts.sum() - counts[specials].sum()),
        bytes_per_token=_bytes_per_token(tokenizer, counts, specials),
        num_documents=None if starts is None else len(starts) - 1,
        sampled_documents=drawn,
        sampled_bytes_per_token=_bytes_per_token(tokenizer, sampled, specials),
        seconds=seconds,
        bytes_per_second=speed,
        pile_seconds=PILE_BYTES / speed if speed else None,
        num_unused=int(unused.sum()),
        longest_unused=[vocab[i] for i in longest],
    )


def draw(num_documents: int, num_sampled: int, seed: int) -> list[int]:
    """Numbers of documents, ascending, each at most once.

    Example:
        >>> draw(1_000, 3, seed=0), draw(2, 10, seed=0)
        ([394, 776, 864], [0, 1])
    """
    return sorted(random.Random(seed).sample(range(num_documents), min(num_sampled, num_documents)))


def _bytes_per_token(tokenizer: Tokenizer, counts: NDArray[np.int64], specials: list[int]) -> float | None:
    num_tokens = int(counts.sum() - counts[specials].sum())
    return int(tokenizer.token_num_bytes @ counts) / num_tokens if num_tokens else None


def _document_starts(path: Path, known: bool, num_tokens: int) -> NDArray[np.uint64] | None:
    """Where each document begins, and the end of the last."""
    if not known:
        return None
    starts = np.fromfile(path.with_name(f"{path.name}.documents"), "<u8")
    return np.append(starts, np.uint64(num_tokens))
