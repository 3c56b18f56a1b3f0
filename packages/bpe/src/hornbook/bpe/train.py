"""Train a byte-level BPE vocabulary from text, or from pretokens counted before."""

from collections.abc import Sequence
from typing import SupportsIndex

from . import engine
from .arguments import TIE_BREAKS, check_choice, check_count, check_num_threads, check_progress
from .counting import added_up, count_source
from .counts import PretokenCounts
from .engine import PackedCounts
from .patterns import find_pattern
from .progress import Progress
from .sources import InputPath, open_source
from .special import check_special_tokens

_MOST_MERGES = 1 << 31  # no text has more


def train_bpe(
    input_path: InputPath,
    vocab_size: SupportsIndex,
    special_tokens: Sequence[str],
    *,
    pattern: str = "gpt2",
    tie_break: str = "greatest bytes",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learn a vocabulary of bytes, special tokens and merges (Sennrich et al. 2016; Radford et al. 2019).

    The text is cut at special tokens, the rest into pretokens by `pattern`; then the most frequent pair of
    neighbouring tokens inside pretokens becomes a token, again and again. The result does not depend on
    `num_threads`. Memory does not grow with the text, only with its different pretokens.

    Args:
        input_path: A text file in UTF-8, gzip (.gz) or Zstandard (.zst) by its suffix; a pattern such as
            "corpus/*.txt"; a list of such, each file a text of its own; "-", standard input; a file
            object; or any other iterable of strings, pieces of one text. Text is read as it is: no line
            end and no byte order mark is changed.
        vocab_size: Tokens in all: special tokens, the 256 bytes, merges. If the text has no pair left
            before, the vocabulary stays smaller and a warning is logged.
        special_tokens: Strings that stand for themselves; of overlapping ones the longest is taken.
        pattern: "gpt2", "cl100k", "o200k" or a regex in the syntax of the package `regex`.
        tie_break: Of pairs equally frequent, "greatest bytes" takes the lexicographically greatest pair of
            token bytes, "smallest ids" the pair of the smallest ids, as Hugging Face's trainer does.
        num_threads: Threads that count; by default one for each processor.
        progress: Called with stages "count" and "merge".

    Returns:
        The vocabulary, id to bytes: special tokens from 0 in the order given, then the bytes 0 to 255, then
        one token per merge; and the merges, in order.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `vocab_size` has no room for the bytes and the special tokens, a special token is
            empty or given twice, or the text is empty, damaged or not UTF-8.
        FileNotFoundError: If there is no such file.

    Example:
        >>> vocab, merges = train_bpe(iter(["low low<|endoftext|>", "lower"]), 259, ["<|endoftext|>"])
        >>> merges
        [(b'o', b'w'), (b'l', b'ow')]
        >>> vocab[0], vocab[1 + ord("l")], vocab[258]
        (b'<|endoftext|>', b'l', b'low')
    """
    specials = check_special_tokens(special_tokens)
    num_merges = _num_merges(vocab_size, specials)
    check_choice("tie_break", tie_break, TIE_BREAKS)
    check_progress(progress)
    found = find_pattern(pattern)
    threads = check_num_threads(num_threads)
    source = open_source(input_path)
    counters, num_bytes = count_source(source, specials, found, threads, progress)
    if num_bytes == 0:
        msg = f"{source.name} is empty: there is nothing to learn from"
        raise ValueError(msg)
    counts = added_up(counters)
    del counters  # a table of all pretokens, for whose memory there is other use now
    return _learn(source.name, counts, specials, num_merges, tie_break, progress)


def train_from_counts(
    counts: PretokenCounts,
    vocab_size: SupportsIndex,
    *,
    tie_break: str = "greatest bytes",
    progress: Progress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learn what `train_bpe` would from the text that was counted.

    Args:
        counts: From `count_pretokens`; pattern and special tokens are those of the counts.
        vocab_size: As for `train_bpe`.
        tie_break: As for `train_bpe`.
        progress: Called with stage "merge".

    Returns:
        The vocabulary and the merges, as `train_bpe`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `vocab_size` has no room for the bytes and the special tokens, or nothing was counted.

    Example:
        >>> from hornbook.bpe import count_pretokens
        >>> counts = count_pretokens(iter(["low low"]), []) + count_pretokens(iter(["lower"]), [])
        >>> train_from_counts(counts, 258)[1]
        [(b'o', b'w'), (b'l', b'ow')]
    """
    if not isinstance(counts, PretokenCounts):
        msg = f"counts must be PretokenCounts, as count_pretokens returns them, got {type(counts).__name__}"
        raise TypeError(msg)
    num_merges = _num_merges(vocab_size, counts.special_tokens)
    check_choice("tie_break", tie_break, TIE_BREAKS)
    check_progress(progress)
    if counts.num_bytes == 0:
        msg = "the counts are those of an empty text: there is nothing to learn from"
        raise ValueError(msg)
    return _learn("the text counted", counts.packed, counts.special_tokens, num_merges, tie_break, progress)


def _num_merges(vocab_size: SupportsIndex, special_tokens: Sequence[str]) -> int:
    size = check_count("vocab_size", vocab_size, 0)
    fewest = 256 + len(special_tokens)
    if size < fewest:
        parts = f"256 bytes and {len(special_tokens)} special tokens"
        msg = f"vocab_size must be at least {fewest} ({parts}), got {size}"
        raise ValueError(msg)
    return min(size - fewest, _MOST_MERGES)


def _learn(
    name: str,
    counts: PackedCounts,
    special_tokens: Sequence[str],
    num_merges: int,
    tie_break: str,
    progress: Progress | None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    merges = engine.learn_merges(counts, num_merges, tie_break, progress)
    tokens = [token.encode() for token in special_tokens]
    tokens += [bytes([value]) for value in range(256)]
    tokens += [left + right for left, right in merges]
    if len(merges) < num_merges:
        wanted = len(tokens) - len(merges) + num_merges
        message = "%s has no pair left to merge: the vocabulary has %d tokens, not %d"
        import logging  # here, because hardly any training needs it

        logging.getLogger(__name__).warning(message, name, len(tokens), wanted)
    return dict(enumerate(tokens)), merges
