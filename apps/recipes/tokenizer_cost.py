"""How long the experiments with tokenizers will take, from a small part of each text."""

import io
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from hornbook.bpe import Tokenizer, count_pretokens, train_from_counts

from .library import write_library
from .stories import END_OF_TEXT, write_stories
from .texts import Texts

_SAMPLE_BYTES = 2_000_000
_START_SECONDS = 1.5  # of the processes that train and measure
# The training texts, unpacked; what is held out adds a hundredth or two.
_DATA_SET_BYTES = {"tinystories": 2_230_000_000, "openwebtext": 11_900_000_000}


def predicted_seconds(corpora: Sequence[Texts], vocab_sizes: Sequence[int]) -> float:
    """Return how long all will take but downloads: a tokenizer trained on each corpus, both encode both.

    The beginning of each training text, or of one like it, is counted, merged and encoded here.

    Args:
        corpora: The texts.
        vocab_sizes: Tokens of the tokenizer of each.
    """
    return _START_SECONDS + sum(map(_seconds, corpora, vocab_sizes))


def _seconds(corpus: Texts, vocab_size: int) -> float:
    with TemporaryDirectory() as folder:
        path, began = Path(folder, "sample.txt"), time.perf_counter()
        _write_sample(corpus, path)
        writing, sample = time.perf_counter() - began, path.read_bytes()
    there = corpus.train.stat().st_size if corpus.train.is_file() else 0
    share = (there or corpus.num_bytes or _DATA_SET_BYTES[corpus.source]) / len(sample)
    _measured(sample, vocab_size)  # the first time imports what is needed
    counting, merging, encoding = _measured(sample, vocab_size)
    seconds = share * (counting + 2 * encoding)
    # What is merged are the different words, and they grow as about the root of the text (Heaps' law).
    seconds += math.sqrt(share) * merging
    return seconds if there or not corpus.num_bytes else seconds + share * writing


def _measured(sample: bytes, vocab_size: int) -> list[float]:
    """Return the seconds that counting, merging and encoding take."""
    times = [time.perf_counter()]
    counts = count_pretokens(io.BytesIO(sample), [END_OF_TEXT])
    times.append(time.perf_counter())
    with _silence("hornbook.bpe"):  # that a part has too few pairs says nothing
        tokenizer = Tokenizer(*train_from_counts(counts, vocab_size), [END_OF_TEXT])
    times.append(time.perf_counter())
    tokenizer.encode_to_numpy(sample)
    times.append(time.perf_counter())
    return [later - sooner for sooner, later in pairwise(times)]


def _write_sample(corpus: Texts, path: Path) -> None:
    """Write the beginning of a training text; where there is none yet, of what is most like it."""
    if corpus.train.is_file():
        with corpus.train.open("rb") as file:
            begin = file.read(_SAMPLE_BYTES).decode("utf-8", errors="ignore")  # the cut may be in a character
        path.write_text(begin, encoding="utf-8", newline="")
    elif corpus.source in ("tinystories", "sample"):
        write_stories(path, num_bytes=_SAMPLE_BYTES, seed=0, split="train")
    else:
        write_library(path, num_bytes=_SAMPLE_BYTES, split="train")


@contextmanager
def _silence(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
