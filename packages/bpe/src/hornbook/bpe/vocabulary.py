"""What makes a vocabulary and its merges sound; checked once, when a tokenizer is made."""

import operator
from collections.abc import Mapping, Sequence

MergeTable = dict[tuple[int, int], tuple[int, int]]
"""For a pair of token ids, the rank of its merge and the id of the product."""


def check_vocab(vocab: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the vocabulary in order of ids.

    Raises:
        TypeError: If it is no mapping of integers to bytes.
        ValueError: If the ids are not 0 to n - 1, or a token is empty.
    """
    if not isinstance(vocab, Mapping):
        msg = f"vocab must map token ids to bytes, got {type(vocab).__name__}"
        raise TypeError(msg)
    checked: dict[int, bytes] = {}
    for key, token in vocab.items():
        if isinstance(key, bool) or not hasattr(key, "__index__") or not isinstance(token, bytes):
            msg = f"vocab must map token ids to bytes, got {key!r}: {token!r}"
            raise TypeError(msg)
        if not token:
            msg = f"token {key} is empty; a token stands for at least one byte"
            raise ValueError(msg)
        checked[operator.index(key)] = token
    for token_id in range(len(checked)):
        if token_id not in checked:
            msg = (
                f"the ids of {len(checked)} tokens must be 0 to {len(checked) - 1}, but {token_id} is missing"
            )
            raise ValueError(msg)
    return {token_id: checked[token_id] for token_id in range(len(checked))}


def add_special_tokens(vocab: dict[int, bytes], special_tokens: Sequence[str]) -> dict[str, int]:
    """Return the ids of the special tokens; those that `vocab` lacks are appended to it.

    A special token may be spelled like an ordinary one (training with the special token "a" makes such a
    vocabulary). Then the lower id is the special token's, as in training.
    """
    first_id: dict[bytes, int] = {}
    for token_id, token in vocab.items():
        first_id.setdefault(token, token_id)
    special_ids = {}
    for special in special_tokens:
        token = special.encode()
        special_ids[special] = first_id.setdefault(token, len(vocab))
        vocab[special_ids[special]] = token
    return special_ids


def ordinary_ids(vocab: Mapping[int, bytes], special_ids: Mapping[str, int]) -> dict[bytes, int]:
    """The id of each token; where a special and an ordinary one are spelled alike, the ordinary one's.

    Raises:
        ValueError: If two ordinary tokens are the same.
    """
    specials = set(special_ids.values())
    ids: dict[bytes, int] = {}
    for token_id, token in vocab.items():
        other = ids.setdefault(token, token_id)
        if other == token_id:
            continue
        if other not in specials:
            msg = f"ids {other} and {token_id} are both token {token!r}; each token has one id"
            raise ValueError(msg)
        ids[token] = token_id
    return ids


def merge_table(merges: Sequence[tuple[bytes, bytes]], ids: Mapping[bytes, int]) -> MergeTable:
    """Merges by the ids of their parts.

    Raises:
        TypeError: If a merge is no pair of bytes.
        ValueError: If a merge is given twice, or its parts or product are not in the vocabulary.
    """
    table: MergeTable = {}
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
        pair = (ids[left], ids[right])
        if pair in table:
            msg = f"merge {rank}, {left!r} + {right!r}, was given before as merge {table[pair][0]}"
            raise ValueError(msg)
        table[pair] = (rank, ids[left + right])
    return table


def check_all_made(
    vocab: Mapping[int, bytes], merges: Sequence[tuple[bytes, bytes]], special_tokens: Sequence[str]
) -> None:
    """Refuse merges that were cut off: a token that two others would make, but no merge does.

    Raises:
        ValueError: If there is such a token. A special token that was not declared may look like one.
    """
    known = set(vocab.values())
    made = {left + right for left, right in merges} | {special.encode() for special in special_tokens}
    for token_id, token in vocab.items():
        if len(token) == 1 or token in made:
            continue
        if any(token[:cut] in known and token[cut:] in known for cut in range(1, len(token))):
            msg = (
                f"no merge makes token {token_id}, {token!r}: the merges may be cut off;"
                " if it is a special token, name it in special_tokens"
            )
            raise ValueError(msg)
