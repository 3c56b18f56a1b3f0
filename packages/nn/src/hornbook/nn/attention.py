"""Causal multi-head self-attention."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Module

from ._checks import check_choice, check_head_dim, check_kv_heads, check_positive_int
from .attention_kernels import attention_kernel
from .cache import LayerCache
from .config import Attention
from .linear import Linear, project
from .rope import RotaryEmbedding, Rotation
from .shortcuts import FirstValue


def split_heads(
    x: Float[Tensor, "*batch seq width"], num_heads: int
) -> Float[Tensor, "*batch heads seq head_dim"]:
    """Give each head its own slice of the last axis."""
    # Not in words for einops: torch.compile would take 3 s to look through it, at every start.
    return torch.unflatten(x, -1, (num_heads, -1)).transpose(-2, -3)


def merge_heads(x: Float[Tensor, "*batch heads seq head_dim"]) -> Float[Tensor, "*batch seq width"]:
    """Undo `split_heads`."""
    return x.transpose(-2, -3).flatten(-2)


class CausalSelfAttention(Module):
    """Let each position attend to itself and those before it, in several heads (Vaswani et al., 2017).

    Args:
        d_model: Width of input and output.
        num_heads: Number of heads; divides d_model, unless `head_dim` is given.
        num_kv_heads: Number of heads of keys and values; divides `num_heads`. None: as many.
        head_dim: Features of a head; None: d_model / num_heads.
        rope: Rotates queries and keys, per head; None gives attention that knows order by the mask alone.
        q_norm: Applied to the queries of each head before they are rotated; None leaves them.
        k_norm: The same for keys.
        value_residual: Called with the values and those of the first layer, whose result takes their place.
            A layer without it leaves its values for those that follow.
        attention: Which kernel computes it: see `TransformerConfig`.
        device: Where the weights are made.
        dtype: Of the weights.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive, the heads do not divide `d_model`, those of keys and values do
            not divide them, `attention` is unknown or `rope` is for another width.

    Example:
        >>> rope = RotaryEmbedding(10_000.0, head_dim=8, context_length=16)
        >>> CausalSelfAttention(32, 4, rope=rope)(torch.zeros(2, 10, 32)).shape
        torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_dim: int | None = None,
        rope: RotaryEmbedding | None = None,
        q_norm: Module | None = None,
        k_norm: Module | None = None,
        value_residual: Module | None = None,
        attention: Attention = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_int("d_model", d_model)
        check_positive_int("num_heads", num_heads)
        check_head_dim(d_model, num_heads, head_dim)
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_kv_heads(num_heads, num_kv_heads)
        check_choice("attention", attention, Attention)
        head_dim = d_model // num_heads if head_dim is None else head_dim
        if rope is not None and rope.head_dim != head_dim:
            msg = f"rope is for heads of {rope.head_dim} features, these have {head_dim}"
            raise ValueError(msg)
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.attention = attention
        self.rope = rope
        self.q_norm = q_norm
        self.k_norm = k_norm
        self.value_residual = value_residual
        self.q_proj = Linear(d_model, num_heads * head_dim, device=device, dtype=dtype)
        self.k_proj = Linear(d_model, num_kv_heads * head_dim, device=device, dtype=dtype)
        self.v_proj = Linear(d_model, num_kv_heads * head_dim, device=device, dtype=dtype)
        self.output_proj = Linear(num_heads * head_dim, d_model, device=device, dtype=dtype)

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        positions: Int[Tensor, "... seq"] | None = None,
        *,
        mask: Bool[Tensor, "... seq keys"] | None = None,
        cache: LayerCache | None = None,
        first_value: FirstValue | None = None,
        rotate: Rotation | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Mix the positions.

        Args:
            x: The residual stream, normalized or not.
            positions: For `rope`; None counts on from what the cache holds, or from 0. They do not move the
                causal mask, which goes by the order in `x`.
            mask: True where a position may attend to another; None is causal.
            cache: Holds the keys and values of the positions before these, and takes those of these.
            first_value: Takes the values of the first layer and hands them to those that have a
                `value_residual`; without it such a layer mixes its values with themselves.
            rotate: What `rope.at` gives for these positions, with an axis for the heads, where it has been
                looked up already.

        Raises:
            TypeError: If the mask is not bool.
            ValueError: If its last axes are not queries and keys, or 1.
        """
        start = 0 if cache is None else cache.length
        if mask is not None:
            _check_mask(mask, x.shape[-2], start + x.shape[-2])
        query, key, value = project(x, (self.q_proj, self.k_proj, self.v_proj))
        query = split_heads(query, self.num_heads)
        key, value = split_heads(key, self.num_kv_heads), split_heads(value, self.num_kv_heads)
        if self.q_norm is not None:
            query = self.q_norm(query)
        if self.k_norm is not None:
            key = self.k_norm(key)
        if self.rope is not None:
            if rotate is None:
                if positions is None:
                    positions = torch.arange(start, start + x.shape[-2], device=x.device)
                rotate = self.rope.at(positions.unsqueeze(-2))  # the same for all heads
            query, key = rotate(query), rotate(key)
        if self.value_residual is not None:
            value = self.value_residual(value, value if first_value is None else first_value.value)
        elif first_value is not None:
            first_value.value = value
        if cache is not None:
            key, value = cache.append(key, value)
        mixed = attention_kernel(self.attention, x.device)(query, key, value, mask)
        output: Float[Tensor, "*batch seq d_model"] = self.output_proj(merge_heads(mixed))
        return output


def _check_mask(mask: Tensor, num_queries: int, num_keys: int) -> None:
    """Refuse what doesn't say for each query and key whether they may meet."""
    if mask.dtype != torch.bool:
        # torch's kernel would add numbers to the scores, and a mask of ones would hide nothing.
        msg = f"mask must be torch.bool, True where a position may attend to another, got {mask.dtype}"
        raise TypeError(msg)
    shape = tuple(mask.shape)
    if len(shape) < 2 or shape[-2] not in {1, num_queries} or shape[-1] not in {1, num_keys}:
        msg = f"mask must have shape (..., {num_queries}, {num_keys}), of queries and keys, got {shape}"
        raise ValueError(msg)
