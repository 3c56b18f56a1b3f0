"""What makes a vocabulary and its merges sound; checked once, when a tokenizer is made."""

import operator
from collections.abc import Mapping, Sequence
from typing import SupportsIndex

MergeTable = dict[tuple[int, int], tuple[int, int]]
"""For a pair of token ids, the rank of its merge and the id of the product."""


MAX_VOCAB_SIZE = 1 << 21
"""Ids stay below 2^21, so that the compiled core packs a pair and what it makes into two machine words."""

MAX_MERGES = (1 << 22) - 2
"""Nor do more merges fit there. More than tokens they can be only where one token is made in several ways."""


def check_vocab(vocab: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the vocabulary in order of ids.

    Raises:
        TypeError: If it is no mapping of integers to bytes.
        ValueError: If the ids are not 0 to n - 1, or a token is empty.
    """
    if not isinstance(vocab, Mapping):
        msg = f"vocab must map token ids to bytes, got {type(vocab).__name__}"
        raise TypeError(msg)
    if set(map(type, vocab)) <= {int} and set(map(type, vocab.values())) <= {bytes}:
        checked = dict(vocab)
    else:  # NumPy's integers, for instance
        checked = {_checked_id(key, token): token for key, token in vocab.items()}
    size = len(checked)
    for token_id in range(size):
        if token_id not in checked:
            msg = f"the ids of {size} tokens must be 0 to {size - 1}, but {token_id} is missing"
            raise ValueError(msg)
    in_order = {token_id: checked[token_id] for token_id in range(size)}
    if b"" in in_order.values():
        token_id = next(token_id for token_id, token in in_order.items() if not token)
        msg = f"token {token_id} is empty; a token stands for at least one byte"
        raise ValueError(msg)
    return in_order


def _checked_id(key: object, token: object) -> int:
    if isinstance(key, bool) or not isinstance(key, SupportsIndex) or not isinstance(token, bytes):
        msg = f"vocab must map token ids to bytes, got {key!r}: {token!r}"
        raise TypeError(msg)
    return operator.index(key)


def add_special_tokens(vocab: dict[int, bytes], special_tokens: Sequence[str]) -> dict[str, int]:
    """Return the ids of the special tokens; those that `vocab` lacks are appended to it.

    A special token may be spelled like an ordinary one (training with the special token "a" makes such a
    vocabulary). Then the lower id is the special token's, as in training.

    Raises:
        ValueError: If that makes more tokens than `MAX_VOCAB_SIZE`.
    """
    first_id = {token: token_id for token_id, token in reversed(vocab.items())}
    special_ids = {}
    for special in special_tokens:
        token = special.encode()
        special_ids[special] = first_id.setdefault(token, len(vocab))
        vocab[special_ids[special]] = token
    if len(vocab) > MAX_VOCAB_SIZE:
        msg = (
            f"a vocabulary has at most {MAX_VOCAB_SIZE:,} tokens (2^21), this one has {len(vocab):,}"
            " with its special tokens"
        )
        raise ValueError(msg)
    return special_ids


def ordinary_ids(vocab: Mapping[int, bytes], special_ids: Mapping[str, int]) -> dict[bytes, int]:
    """The id of each token; where a special and an ordinary one are spelled alike, the ordinary one's.

    Raises:
        ValueError: If two ordinary tokens are the same.
    """
    # Of tokens spelled alike the special one comes first (`add_special_tokens`), and the last one stays.
    ids = {token: token_id for token_id, token in vocab.items()}
    if len(ids) < len(vocab):
        specials = set(special_ids.values())
        for token_id, token in vocab.items():
            if ids[token] != token_id and token_id not in specials:
                msg = f"ids {token_id} and {ids[token]} are both token {token!r}; each token has one id"
                raise ValueError(msg)
    return ids


def merge_table(merges: Sequence[tuple[bytes, bytes]], ids: Mapping[bytes, int]) -> MergeTable:
    """Merges by the ids of their parts.

    A merge makes a token longer than its parts, so merges cannot go in a circle.

    Raises:
        TypeError: If a merge is no pair of bytes.
        ValueError: If a merge is given twice, its parts or product are not in the vocabulary, or there are
            more than `MAX_MERGES`.
    """
    if len(merges) > MAX_MERGES:
        msg = f"a tokenizer has at most {MAX_MERGES:,} merges (2^22 - 2), this one has {len(merges):,}"
        raise ValueError(msg)
    # One pass without questions, and only if it fails a second one that finds out why: half the time.
    try:
        pairs = [(ids[left], ids[right]) for left, right in merges]
        products = [ids[left + right] for left, right in merges]
    except (KeyError, TypeError, ValueError):
        _raise_unsound(merges, ids)
        raise
    table: MergeTable = dict(zip(pairs, enumerate(products), strict=True))
    if len(table) < len(merges) or not all(isinstance(merge, tuple | list) for merge in merges):
        _raise_unsound(merges, ids)
    return table


def _raise_unsound(merges: Sequence[tuple[bytes, bytes]], ids: Mapping[bytes, int]) -> None:
    """Raise the error of the first merge that has one."""
    rank_of: dict[tuple[bytes, bytes], int] = {}
    for rank, merge in enumerate(merges):
        if not isinstance(merge, tuple | list) or not all(isinstance(part, bytes) for part in merge):
            msg = f"merge {rank} must be a pair of bytes, got {merge!r}"
            raise TypeError(msg)
        if len(merge) != 2:
            msg = f"merge {rank} must have two parts, got {merge!r}"
            raise ValueError(msg)
        left, right = merge
        for token in (left, right, left + right):
            if token not in ids:
                msg = f"merge {rank}, {left!r} + {right!r}, needs {token!r}, which is not in the vocabulary"
                raise ValueError(msg)
        earlier = rank_of.setdefault((left, right), rank)
        if earlier != rank:
            msg = f"merge {rank}, {left!r} + {right!r}, was given before as merge {earlier}"
            raise ValueError(msg)
