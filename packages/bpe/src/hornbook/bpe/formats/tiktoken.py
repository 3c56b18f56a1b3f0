"""tiktoken's files: on each line a token in base64, a space and its rank, which is its id.

tiktoken keeps no merges. Its rule is: of all neighbours whose product is a token, join those whose product
has the lowest rank, the leftmost first. Merges say more: which two parts make a token. `read` finds them, and
the ids stay the same, if every token is *reachable*: tiktoken's rule, run on the bytes of the token alone,
ends in the token. Then the two parts before that last step are the only ones that ever make it:

Let x, y be neighbours anywhere in a text whose product t is a token. No step so far joined anything across
the ends of that stretch. So the steps inside it were those that the rule takes on t alone, in the same order,
for the first choice of a whole text is also the first choice of the stretch in which it lies. Two parts are
left of the stretch, as of t alone before the last step. So x and y are those two.

It follows that merges given in the order of their products' ranks choose the same neighbours at every step
as tiktoken does, and that any further merges of the same tokens, as in Llama 3's tokenizer.json, which lists
all pairs, never apply.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from os import PathLike

from ..arguments import check_file, check_path
from ..patterns import find_pattern
from ..special import check_special_tokens
from .files import check_id, naming, read_text, show, write_files
from .parts import Parts

_LINE = re.compile(r"([A-Za-z0-9+/]+=*) ([0-9]{1,10})")


def read(
    path: str | PathLike[str],
    special_tokens: Sequence[str] | Mapping[str, int] = (),
    *,
    pattern: str = "cl100k",
) -> Parts:
    """Read a .tiktoken file. It says neither which tokens are special nor what the pattern is.

    Args:
        path: The file. Blank lines are skipped and lines may end as on Windows, as in tiktoken.
        special_tokens: With their ids, as tiktoken's `Encoding` takes them, or in order: then they get the
            ids that the file leaves free, the lowest first.
        pattern: Handed on.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of this form, or a token is not reachable: no merges give what tiktoken does.
    """
    file = check_file(path)
    found = find_pattern(pattern)
    with naming(file):
        ranks = _parse(read_text(file))
        merges = reachable_merges(ranks)
        vocab = {token_id: token for token, token_id in ranks.items()}
        specials = _special_ids(special_tokens, vocab)
        for special, token_id in specials.items():
            if vocab.setdefault(token_id, special.encode()) != special.encode():
                msg = f"special token {special!r} has id {token_id}, which is token {show(vocab[token_id])}"
                raise ValueError(msg)
        parts = Parts(vocab, merges, specials, found.regex if found.name == "custom" else found.name)
        try:
            return parts.in_order()
        except ValueError as error:
            if max(vocab) < len(vocab):
                raise
            msg = f"{error}; give special tokens for the ids that the file leaves free"
            raise ValueError(msg) from None


def write(path: str | PathLike[str], parts: Parts) -> None:
    """Write the ordinary tokens; a file with another content is not replaced.

    tiktoken takes the special tokens and the pattern when an `Encoding` is made:

        tiktoken.Encoding(name, pat_str=regex, special_tokens=tokenizer.special_tokens with their ids,
                          mergeable_ranks=tiktoken.load.load_tiktoken_bpe(path))

    tiktoken keeps what it has loaded, by path: set TIKTOKEN_CACHE_DIR="" where a path may hold another
    tokenizer than before.

    Raises:
        ValueError: If tiktoken would give other ids, because ids are not in the order of merges, or a token
            is not reachable.
        FileExistsError: If the file exists and holds something else.
    """
    ranks = parts.ordinary_tokens()
    order = {merge: index for index, merge in enumerate(parts.merges)}
    last = -1
    for left, right in reachable_merges(ranks):
        index = order.get((left, right))
        if index is None:
            msg = (
                f"tiktoken would make token {ranks[left + right]}, {show(left + right)}, of {show(left)} and"
                f" {show(right)}, and no merge does: it cannot give the same ids"
            )
            raise ValueError(msg)
        if index < last:
            msg = (
                f"tiktoken takes ids for the order of merges, and here they differ: merge {index},"
                f" {show(left)} + {show(right)}, makes id {ranks[left + right]}, a later one a lower id"
            )
            raise ValueError(msg)
        last = index
    in_order = sorted((rank, token) for token, rank in ranks.items())
    write_files(
        {check_path(path): b"".join(b"%b %d\n" % (b64encode(token), rank) for rank, token in in_order)}
    )


def reachable_merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """For each token but single bytes, in order of ranks, the two parts that tiktoken's rule makes it of.

    Raises:
        ValueError: If a token is not reachable.

    Example:
        >>> reachable_merges({b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"bc": 4, b"abc": 5})
        [(b'a', b'b'), (b'b', b'c'), (b'ab', b'c')]
    """
    merges = []
    others = dict(ranks)
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        del others[token]  # the rule on the token alone, but for the step that makes it
        parts = split(token, lambda left, right: others.get(left + right))
        others[token] = rank
        if len(parts) != 2 or parts[0] not in ranks or parts[1] not in ranks:
            ends = " ".join(map(show, parts[:8])) + (" ..." if len(parts) > 8 else "")
            msg = (
                f"token {rank}, {show(token)}, is not made of two tokens: merging by rank ends in {ends};"
                " no byte-level BPE with merges gives tiktoken's ids"
            )
            raise ValueError(msg)
        merges.append((parts[0], parts[1]))
    return merges


def split(token: bytes, rank_of: Callable[[bytes, bytes], int | None]) -> list[bytes]:
    """Join neighbours, those of the lowest rank first, the leftmost of them first; return what is left.

    Example:
        >>> ranks = {b"ab": 0, b"ba": 1, b"aba": 2}
        >>> split(b"ababb", lambda left, right: ranks.get(left + right))
        [b'ab', b'ab', b'b']
    """
    size = len(token)
    # The part that starts at `place` ends at `after[place]`; the one before it starts at `before[place]`.
    after, before = [*range(1, size + 1)], [*range(-1, size - 1)]
    heap = [
        (rank, place, place + 2)
        for place in range(size - 1)
        if (rank := rank_of(token[place : place + 1], token[place + 1 : place + 2])) is not None
    ]
    heapify(heap)
    while heap:
        _, place, end = heappop(heap)
        middle = after[place]
        if middle == 0 or middle >= size or after[middle] != end:
            continue  # one of the two went into another part
        after[place], after[middle] = end, 0
        left = before[place]
        if end < size:
            before[end] = place
            rank = rank_of(token[place:end], token[end : after[end]])
            if rank is not None:
                heappush(heap, (rank, place, after[end]))
        if left >= 0:
            rank = rank_of(token[left:place], token[place:end])
            if rank is not None:
                heappush(heap, (rank, left, end))
    parts, place = [], 0
    while place < size:
        parts.append(token[place : after[place]])
        place = after[place]
    return parts


def _parse(text: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    tokens: dict[int, bytes] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.removesuffix("\r")
        if not content:
            continue
        match = _LINE.fullmatch(content)
        if match is None:
            msg = f"line {number}: a token in base64, a space and a rank are expected, got {show(content)}"
            raise ValueError(msg)
        try:
            token = b64decode(match[1], validate=True)
        except ValueError as error:
            msg = f"line {number}: {show(match[1])} is not base64: {error}"
            raise ValueError(msg) from None
        rank = check_id(match[1], int(match[2]))
        if token in ranks:
            msg = f"line {number}: token {show(token)} is given twice, with ranks {ranks[token]} and {rank}"
            raise ValueError(msg)
        if rank in tokens:
            msg = f"line {number}: rank {rank} is given to two tokens, {show(tokens[rank])} and {show(token)}"
            raise ValueError(msg)
        ranks[token], tokens[rank] = rank, token
    if not ranks:
        msg = "holds no token"
        raise ValueError(msg)
    return ranks


def _special_ids(
    special_tokens: Sequence[str] | Mapping[str, int], vocab: Mapping[int, bytes]
) -> dict[str, int]:
    names = check_special_tokens(
        list(special_tokens) if isinstance(special_tokens, Mapping) else special_tokens
    )
    if isinstance(special_tokens, Mapping):
        return {special: check_id(special, special_tokens[special]) for special in names}
    specials, token_id = {}, 0
    for special in names:
        while token_id in vocab:
            token_id += 1
        specials[special] = token_id
        token_id += 1
    return specials
