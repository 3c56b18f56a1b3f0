"""Train a byte-level BPE vocabulary from a text file."""

import logging
import os
from collections.abc import Sequence

from .arguments import check_count, check_file, check_num_processes
from .counting import count_pretokens
from .merges import learn_merges
from .progress import Progress
from .special import check_special_tokens

logger = logging.getLogger(__name__)


def train_bpe(
    input_path: str | os.PathLike[str],
    vocab_size: int,
    special_tokens: Sequence[str],
    *,
    num_processes: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learn a vocabulary of bytes, special tokens and merges (Sennrich et al. 2016; Radford et al. 2019).

    The text is cut at special tokens, the rest into pretokens by `GPT2_PATTERN`; then the most frequent pair
    of neighbouring tokens inside pretokens becomes a token, again and again. Of pairs equally frequent, the
    lexicographically greater pair of token bytes wins. The result does not depend on `num_processes`.

    Args:
        input_path: A text file in UTF-8. It is read as it is: no line end and no byte order mark is changed.
        vocab_size: Tokens in all: special tokens, the 256 bytes, merges. If the text has no pair left
            before, the vocabulary stays smaller and a warning is logged.
        special_tokens: Strings that stand for themselves; of overlapping ones the longest is taken.
        num_processes: Processes that count; by default one for each processor. A small file takes one.
        progress: Called with stages "count" and "merge".

    Returns:
        The vocabulary, id to bytes: special tokens from 0 in the order given, then the bytes 0 to 255, then
        one token per merge; and the merges, in order.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `vocab_size` has no room for the bytes and the special tokens, a special token is
            empty or given twice, or the file is empty or not UTF-8.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = pathlib.Path(directory, "text.txt")
        ...     _ = path.write_text("low low<|endoftext|>lower", encoding="utf-8")
        ...     vocab, merges = train_bpe(path, 259, ["<|endoftext|>"])
        >>> merges
        [(b'o', b'w'), (b'l', b'ow')]
        >>> vocab[0], vocab[1 + ord("l")], vocab[258]
        (b'<|endoftext|>', b'l', b'low')
    """
    specials = check_special_tokens(special_tokens)
    size = check_count("vocab_size", vocab_size, 0)
    fewest = 256 + len(specials)
    if size < fewest:
        msg = (
            f"vocab_size must be at least {fewest} (256 bytes and {len(specials)} special tokens), got {size}"
        )
        raise ValueError(msg)
    processes = check_num_processes(num_processes)
    path = check_file(input_path)
    if path.stat().st_size == 0:
        msg = f"{path} is empty: there is nothing to learn from"
        raise ValueError(msg)

    pretoken_counts = count_pretokens(path, specials, processes, progress)
    words = {pretoken.encode(): count for pretoken, count in pretoken_counts.items()}
    merges = learn_merges(words, size - fewest, progress)
    if len(merges) < size - fewest:
        logger.warning(
            "%s has no pair left to merge: the vocabulary has %d tokens, not %d",
            path,
            fewest + len(merges),
            size,
        )
    tokens = [token.encode() for token in specials]
    tokens += [bytes([value]) for value in range(256)]
    tokens += [left + right for left, right in merges]
    return dict(enumerate(tokens)), merges
