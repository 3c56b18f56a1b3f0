"""Two ways to compute causal attention with one meaning: written out, and by torch's fused kernel."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from .config import Attention
from .functional import scaled_dot_product_attention

Kernel: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""What mixes values by queries, keys and a mask: `explicit_attention` or `fused_attention`."""

# Where the fused kernel was measured, or is known, to be faster. Elsewhere the definition serves.
_FUSED_DEVICES = ("cpu", "cuda")


def attention_kernel(attention: Attention, device: torch.device) -> Kernel:
    """Return the kernel that a config asks for; "auto" is the fused one on the CPU and on CUDA.

    Args:
        attention: "auto", "explicit" or "fused".
        device: Of the queries.

    Example:
        >>> attention_kernel("auto", torch.device("meta")).__name__
        'explicit_attention'
    """
    fused = attention == "fused" or (attention == "auto" and device.type in _FUSED_DEVICES)
    return fused_attention if fused else explicit_attention


def causal_mask(
    queries: int, keys: int | None = None, *, device: torch.device | str | None = None
) -> Bool[Tensor, "queries keys"]:
    """Let each query attend to its own position and those before it, the queries being the last of the keys.

    Args:
        queries: Number of queries.
        keys: Number of keys, at least as many; None: as many.
        device: Where the mask is made.

    Example:
        >>> causal_mask(2, 4).int()
        tensor([[1, 1, 1, 0],
                [1, 1, 1, 1]], dtype=torch.int32)
    """
    keys = queries if keys is None else keys
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def explicit_attention(
    query: Float[Tensor, "*batch heads queries head_dim"],
    key: Float[Tensor, "*batch kv_heads keys head_dim"],
    value: Float[Tensor, "*batch kv_heads keys head_dim"],
    mask: Bool[Tensor, "... queries keys"] | None = None,
) -> Float[Tensor, "*batch heads queries head_dim"]:
    """Compute softmax(Q K^T / sqrt(d_k)) V per head: the definition, which holds all scores at once.

    Args:
        query: Any leading axes.
        key: One head for each heads / kv_heads heads of queries, in order (Ainslie et al., 2023).
        value: As `key`.
        mask: True where a query may attend to a key, the same for all heads. None is causal, the queries
            being the last of the keys: see `causal_mask`.

    Example:
        >>> values = torch.tensor([[[2.0], [4.0], [9.0]]])
        >>> explicit_attention(torch.zeros(1, 3, 1), torch.zeros(1, 3, 1), values)
        tensor([[[2.],
                 [3.],
                 [5.]]])
    """
    if mask is None:
        mask = causal_mask(query.shape[-2], key.shape[-2], device=query.device)
    query = rearrange(query, "... (kv group) queries d -> ... kv group queries d", kv=key.shape[-3])
    key, value = rearrange([key, value], "two ... kv keys d -> two ... kv 1 keys d")
    mixed = scaled_dot_product_attention(query, key, value, rearrange(mask, "... q k -> ... 1 1 q k"))
    return rearrange(mixed, "... kv group queries d -> ... (kv group) queries d")


def fused_attention(
    query: Float[Tensor, "*batch heads queries head_dim"],
    key: Float[Tensor, "*batch kv_heads keys head_dim"],
    value: Float[Tensor, "*batch kv_heads keys head_dim"],
    mask: Bool[Tensor, "... queries keys"] | None = None,
) -> Float[Tensor, "*batch heads queries head_dim"]:
    """Compute what `explicit_attention` does block by block, without holding the scores (Dao et al., 2022).

    Args:
        query: As for `explicit_attention`; so are the others.
        key: One head for each heads / kv_heads heads of queries, in order.
        value: As `key`.
        mask: True where a query may attend to a key, the same for all heads; None is causal.

    Example:
        >>> values = torch.tensor([[[2.0], [4.0], [9.0]]])
        >>> fused_attention(torch.zeros(1, 3, 1), torch.zeros(1, 3, 1), values)
        tensor([[[2.],
                 [3.],
                 [5.]]])
    """
    queries, keys = query.shape[-2], key.shape[-2]
    leading = query.shape[:-3]
    # torch aligns its causal mask with the first key, ours with the last; they differ where there is a cache.
    causal = mask is None and queries == keys
    if mask is None and 1 < queries < keys:
        mask = causal_mask(queries, keys, device=query.device)
    if mask is not None:
        mask = mask.expand(*leading, queries, keys).reshape(math.prod(leading), 1, queries, keys)
    if len(leading) != 1:
        # The kernels want one batch axis. (Its size is given: -1 would not do where nothing is in them.)
        query, key, value = (x.reshape(math.prod(leading), *x.shape[-3:]) for x in (query, key, value))
    mixed = torch_attention(
        query, key, value, mask, is_causal=causal, enable_gqa=query.shape[1] != key.shape[1]
    )
    return mixed if len(leading) == 1 else mixed.reshape(*leading, *mixed.shape[1:])
