"""Keys and values of the tokens so far, so that each new token costs one position."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ._checks import check_positive_int
from .config import TransformerConfig


class LayerCache:
    """Keys and values of one layer, in memory that is there from the start.

    The columns in use are the same for all rows and lie between a start and an end that both move to the
    right; only when the end of the memory is reached are they moved back to its beginning.

    Args:
        keys: Room for keys. What is in it must be finite, as masked columns are multiplied by zero.
        values: Room for values, likewise.
    """

    def __init__(
        self,
        keys: Float[Tensor, "rows kv_heads capacity head_dim"],
        values: Float[Tensor, "rows kv_heads capacity head_dim"],
    ) -> None:
        self._keys = keys
        self._values = values
        self._start = 0
        self._end = 0

    @property
    def length(self) -> int:
        """Columns in use."""
        return self._end - self._start

    @property
    def keys(self) -> Float[Tensor, "rows kv_heads keys head_dim"]:
        """All keys, a view."""
        return self._keys.narrow(2, self._start, self.length)

    @property
    def values(self) -> Float[Tensor, "rows kv_heads keys head_dim"]:
        """All values, a view."""
        return self._values.narrow(2, self._start, self.length)

    def append(
        self,
        key: Float[Tensor, "rows kv_heads seq head_dim"],
        value: Float[Tensor, "rows kv_heads seq head_dim"],
    ) -> tuple[Float[Tensor, "rows kv_heads keys head_dim"], Float[Tensor, "rows kv_heads keys head_dim"]]:
        """Write new columns behind the old and return views of all.

        Args:
            key: The new keys.
            value: The new values.

        Raises:
            ValueError: If there is no room, or they are of other rows, heads or sizes.
        """
        rows, heads, seq, size = key.shape
        made_for = (*self._keys.shape[:2], self._keys.shape[3])
        if (rows, heads, size) != made_for:
            msg = (
                f"a cache is made for (rows, heads, size of a head) = {made_for}, got keys of "
                f"{(rows, heads, size)}: make one for this model and this number of texts"
            )
            raise ValueError(msg)
        self.extend(seq)
        self._keys.narrow(2, self._end - seq, seq).copy_(key)
        self._values.narrow(2, self._end - seq, seq).copy_(value)
        return self.keys, self.values

    def extend(self, num_columns: int) -> None:
        """Take columns into use as they are; see `KVCache.extend`."""
        capacity = self._keys.shape[2]
        if self.length + num_columns > capacity:
            msg = (
                f"the cache has room for {capacity} positions, holds {self.length} and got {num_columns} more"
            )
            raise ValueError(msg)
        if self._end + num_columns > capacity:
            for memory, used in ((self._keys, self.keys), (self._values, self.values)):
                memory.narrow(2, 0, self.length).copy_(used.clone())
            self._start, self._end = 0, self.length
        self._end += num_columns

    def forget(self, num_columns: int) -> None:
        """Drop the oldest columns; see `KVCache.forget`."""
        self._start += num_columns

    def replace(self, rows: Sequence[int], other: "LayerCache") -> None:
        """Put another cache into some rows; see `KVCache.replace`."""
        for memory, theirs in ((self._keys, other.keys), (self._values, other.values)):
            memory[rows, :, self._end - other.length : self._end] = theirs

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows; see `KVCache.keep`."""
        self._keys, self._values = self._keys[rows], self._values[rows]


class KVCache:
    """Keys and values of every layer, for several texts, a row each.

    A model that is called with it adds a column per token to all rows at once. Rows of different lengths end
    together: the shorter have columns on the left that stand for nothing, which the caller of the model hides
    by its `mask`; its `positions` count from each row's first true column.

    Args:
        config: Shape of the model.
        num_rows: Number of texts.
        capacity: Columns to make room for; None: the whole context.
        device: Of the model.
        dtype: Of its keys and values; bfloat16 takes half the memory of float32.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If it is not positive.

    Example:
        >>> from hornbook.nn import TransformerLM
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=2, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> model, cache = TransformerLM(config).requires_grad_(False), KVCache(config, num_rows=1)
        >>> whole = model(torch.tensor([[5, 17, 99]]))
        >>> _ = model(torch.tensor([[5, 17]]), cache=cache)
        >>> torch.allclose(model(torch.tensor([[99]]), cache=cache)[:, 0], whole[:, 2], atol=1e-5)
        True
        >>> cache.length
        3
    """

    def __init__(
        self,
        config: TransformerConfig,
        num_rows: int,
        capacity: int | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        capacity = config.context_length if capacity is None else capacity
        check_positive_int("num_rows", num_rows)
        check_positive_int("capacity", capacity)
        shape = (num_rows, config.kv_heads, capacity, config.head_width)
        self.layers = [
            LayerCache(*(torch.zeros(shape, device=device, dtype=dtype) for _ in range(2)))
            for _ in range(config.num_layers)
        ]

    @property
    def length(self) -> int:
        """Columns in use."""
        return self.layers[0].length

    def extend(self, num_columns: int) -> None:
        """Take columns into use that stand for nothing yet: what is in them is finite, and not more is said.

        Args:
            num_columns: How many.

        Raises:
            ValueError: If there is no room.
        """
        for layer in self.layers:
            layer.extend(num_columns)

    def forget(self, num_columns: int) -> None:
        """Drop the oldest columns of all rows.

        Args:
            num_columns: How many, at most `length`.
        """
        for layer in self.layers:
            layer.forget(num_columns)

    def replace(self, rows: Sequence[int], other: "KVCache") -> None:
        """Put another cache into some rows, its last column under the last one here.

        Args:
            rows: As many as the other has, in its order.
            other: Not longer than this one.
        """
        for layer, theirs in zip(self.layers, other.layers, strict=True):
            layer.replace(rows, theirs)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows.

        Args:
            rows: Those that stay, in their new order.
        """
        for layer in self.layers:
            layer.keep(rows)
