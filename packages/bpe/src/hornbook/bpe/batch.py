"""Encode many texts on several threads."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from .arguments import check_choice, check_iterable, check_num_threads
from .cuts import SafeCuts, byte_blocks
from .encoders import TextEncoder, utf8_of
from .special import SpecialTokens
from .threads import ordered_map

# So much makes a piece of work for a thread, and of the shortest texts so many.
_GROUP_BYTES = 1 << 16
_GROUP_PIECES = 1 << 12
# Longer texts are cut in pieces of about this size.
PIECE_BYTES = 1 << 18

_Piece = tuple[int, int, bytes]
"""Number of the text, how many bytes of it come before, and the piece."""


def encode_batch(
    encoder: TextEncoder,
    texts: Iterable[str | bytes],
    specials: SpecialTokens,
    errors: str,
    num_threads: int | None,
) -> list[list[int]]:
    """The token ids of each text; `Tokenizer.encode_batch` says the rest."""
    if isinstance(texts, str | bytes):
        msg = f"encode_batch takes several texts, got one {type(texts).__name__}"
        raise TypeError(msg)
    check_iterable("texts", texts, "str or bytes")
    check_choice("errors", errors, ("strict", "bytes"))
    threads = check_num_threads(num_threads)

    def encode(group: list[_Piece]) -> list[tuple[int, list[int]]]:
        encoded = []
        for index, offset, piece in group:
            try:
                ids = encoder.encode_part(piece, specials, errors, offset)
            except ValueError as error:
                raise _named(error, index) from None
            encoded.append((index, encoder.to_list(ids)))
        return encoded

    groups = _grouped(_pieces(texts, encoder.cuts(specials)))
    first = list(islice(groups, 2))  # a single group is not worth a thread
    batch: list[list[int]] = []
    for group in ordered_map(encode, chain(first, groups), threads if len(first) > 1 else 1):
        for index, ids in group:
            if index == len(batch):
                batch.append(ids)
            else:
                batch[index] += ids
    return batch


def _pieces(texts: Iterable[str | bytes], cuts: SafeCuts) -> Iterator[_Piece]:
    """Texts in UTF-8, long ones in pieces: all threads share in them, and Ctrl-C waits for no text to end."""
    for index, text in enumerate(texts):
        try:
            data = utf8_of(text)
        except (TypeError, ValueError) as error:
            raise _named(error, index) from None
        if len(data) <= PIECE_BYTES:
            yield index, 0, data
            continue
        offset = 0
        for block in byte_blocks([data], cuts, PIECE_BYTES):
            yield index, offset, block
            offset += len(block)


def _grouped(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    num_bytes = 0
    for piece in pieces:
        group.append(piece)
        num_bytes += len(piece[2])
        if num_bytes >= _GROUP_BYTES or len(group) >= _GROUP_PIECES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _named(error: TypeError | ValueError, index: int) -> TypeError | ValueError:
    """The same error, which now says whose it is."""
    return type(error)(f"texts[{index}]: {error}")
