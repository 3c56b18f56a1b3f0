"""Token ids back to the bytes they stand for."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import check_iterable
from .engine import new_joiner

# So many tokens at a time stay in the processor's cache: twice as fast as all at once.
_BLOCK_IDS = 1 << 12

# Up to here looking up each id in a dict takes less than the few microseconds of setting up an array.
_FEW_IDS = 256


class Decoder:
    """Looks up tokens; for any number of threads.

    Args:
        vocab: Token id to bytes, 0 to n - 1 in order.
    """

    def __init__(self, vocab: Mapping[int, bytes]) -> None:
        self._vocab = vocab
        self._joiner = new_joiner(list(vocab.values()))

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids stand for.

        Raises:
            TypeError: If an id is no integer; True and 3.0 are none.
            ValueError: If an id is not in the vocabulary.
        """
        if isinstance(ids, np.ndarray):
            return self._decode_array(ids)
        numbers = ids if isinstance(ids, list) else list(check_iterable("ids", ids, "integers"))
        if not set(map(type, numbers)) <= {int}:  # NumPy's integers, for instance
            numbers = [_check_integer(token_id) for token_id in numbers]
        if len(numbers) > _FEW_IDS:
            try:
                return self._decode_array(np.array(numbers, np.int64))
            except OverflowError:  # the one that is too large is named below
                pass
        try:
            return b"".join(map(self._vocab.__getitem__, numbers))
        except KeyError as error:
            raise self._unknown(error.args[0]) from None

    def _decode_array(self, ids: NDArray[Any]) -> bytes:
        if ids.ndim != 1 or (ids.dtype.kind not in "iu" and len(ids)):
            msg = f"ids must be integers in one dimension, got an array of {ids.dtype} and shape {ids.shape}"
            raise TypeError(msg)
        if not len(ids):
            return b""
        if ids.min() < 0 or ids.max() >= len(self._vocab):
            raise self._unknown(int(ids[(ids < 0) | (ids >= len(self._vocab))][0]))
        return self._joiner.join(ids)

    def _unknown(self, token_id: int) -> ValueError:
        return ValueError(f"token id {token_id} is not in the vocabulary of {len(self._vocab)} tokens")


class PureJoiner:
    """`engine.Joiner` in pure Python."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._tokens = np.empty(len(tokens), object)
        self._tokens[:] = tokens

    def join(self, ids: NDArray[Any]) -> bytes:
        """The tokens of these ids, one after another."""
        blocks = (ids[start : start + _BLOCK_IDS] for start in range(0, len(ids), _BLOCK_IDS))
        return b"".join([b"".join(self._tokens[block].tolist()) for block in blocks])


def _check_integer(token_id: object) -> int:
    try:
        if not isinstance(token_id, bool | np.bool_):
            return operator.index(token_id)  # type: ignore[arg-type]  # refused below
    except TypeError:
        pass
    msg = f"ids must be integers, got {token_id!r}"
    raise TypeError(msg)
