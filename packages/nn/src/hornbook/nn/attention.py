"""Causal multi-head self-attention."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from ._checks import check_heads, check_positive_int
from .functional import causal_mask, scaled_dot_product_attention
from .linear import Linear
from .rope import RotaryEmbedding


def split_heads(
    x: Float[Tensor, "*batch seq d_model"], num_heads: int
) -> Float[Tensor, "*batch heads seq head_dim"]:
    """Give each head its own slice of the last axis."""
    return rearrange(x, "... seq (heads head_dim) -> ... heads seq head_dim", heads=num_heads)


def merge_heads(x: Float[Tensor, "*batch heads seq head_dim"]) -> Float[Tensor, "*batch seq d_model"]:
    """Undo `split_heads`."""
    return rearrange(x, "... heads seq head_dim -> ... seq (heads head_dim)")


class CausalSelfAttention(Module):
    """Let each position attend to itself and those before it, in several heads (Vaswani et al., 2017).

    Args:
        d_model: Width of input and output.
        num_heads: Number of heads; divides d_model.
        rope: Rotates queries and keys, per head; None gives attention that knows order by the mask alone.
        device: Where the weights are made.
        dtype: Of the weights.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive, the heads do not divide `d_model`, or `rope` is for another
            width.

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
        rope: RotaryEmbedding | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_int("d_model", d_model)
        check_positive_int("num_heads", num_heads)
        check_heads(d_model, num_heads)
        if rope is not None and rope.head_dim != d_model // num_heads:
            msg = f"rope is for heads of {rope.head_dim} features, these have {d_model // num_heads}"
            raise ValueError(msg)
        super().__init__()
        self.num_heads = num_heads
        self.rope = rope
        self.q_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.k_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.v_proj = Linear(d_model, d_model, device=device, dtype=dtype)
        self.output_proj = Linear(d_model, d_model, device=device, dtype=dtype)

    def forward(
        self, x: Float[Tensor, "*batch seq d_model"], positions: Int[Tensor, "... seq"] | None = None
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Mix the positions.

        Args:
            x: The residual stream, normalized or not.
            positions: For `rope`; None counts from 0. They do not move the causal mask, which goes by the
                order in `x`.
        """
        seq = x.shape[-2]
        query = split_heads(self.q_proj(x), self.num_heads)
        key = split_heads(self.k_proj(x), self.num_heads)
        value = split_heads(self.v_proj(x), self.num_heads)
        if self.rope is not None:
            if positions is None:
                positions = torch.arange(seq, device=x.device)
            positions = rearrange(positions, "... seq -> ... 1 seq")  # the same for all heads
            query, key = self.rope(query, positions), self.rope(key, positions)
        mixed = scaled_dot_product_attention(query, key, value, causal_mask(seq, device=x.device))
        output: Float[Tensor, "*batch seq d_model"] = self.output_proj(merge_heads(mixed))
        return output
