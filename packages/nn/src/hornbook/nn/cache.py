"""Keys and values of the tokens so far, so that each new token costs one position."""

import torch
from jaxtyping import Float
from torch import Tensor

from .config import TransformerConfig


class LayerCache:
    """Keys and values of one layer, in memory that is there from the start.

    Args:
        keys: Room for keys; its contents do not matter.
        values: Room for values.
    """

    def __init__(
        self,
        keys: Float[Tensor, "batch kv_heads capacity head_dim"],
        values: Float[Tensor, "batch kv_heads capacity head_dim"],
    ) -> None:
        self.length = 0
        self._keys = keys
        self._values = values

    def append(
        self,
        key: Float[Tensor, "batch kv_heads seq head_dim"],
        value: Float[Tensor, "batch kv_heads seq head_dim"],
    ) -> tuple[Float[Tensor, "batch kv_heads keys head_dim"], Float[Tensor, "batch kv_heads keys head_dim"]]:
        """Write the new ones behind the old and return views of all so far.

        Raises:
            ValueError: If there is no room.
        """
        end = self.length + key.shape[-2]
        capacity = self._keys.shape[-2]
        if end > capacity:
            msg = f"the cache has room for {capacity} positions and holds {self.length}; {end} do not fit"
            raise ValueError(msg)
        self._keys[:, :, self.length : end] = key
        self._values[:, :, self.length : end] = value
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]


class KVCache:
    """Keys and values of every layer.

    Args:
        config: Shape of the model.
        batch_size: Number of texts.
        capacity: Positions to make room for; None: the whole context.
        device: Of the model.
        dtype: Of its keys and values; half that of float32 for bfloat16.

    Example:
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=2, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> cache = KVCache(config, batch_size=1)
        >>> cache.length, len(cache.layers)
        (0, 2)
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch_size: int,
        capacity: int | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (batch_size, config.kv_heads, capacity or config.context_length, config.head_dim)
        self.layers = [
            LayerCache(*(torch.empty(shape, device=device, dtype=dtype) for _ in range(2)))
            for _ in range(config.num_layers)
        ]

    @property
    def length(self) -> int:
        """Positions written so far."""
        return self.layers[0].length

    def clear(self) -> None:
        """Forget all positions; the memory is kept."""
        for layer in self.layers:
            layer.length = 0
