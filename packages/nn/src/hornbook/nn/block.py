"""The block: attention and feed-forward around the residual stream."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Module

from .cache import LayerCache
from .rope import Rotation
from .shortcuts import FirstValue

Map = Callable[[Tensor], Tensor]


def pre_norm(x: Float[Tensor, "*batch d_model"], sublayer: Map, norm: Map) -> Float[Tensor, "*batch d_model"]:
    """Compute x + sublayer(norm(x)): the stream itself is never normalized (Xiong et al., 2020).

    Args:
        x: The residual stream.
        sublayer: Attention or feed-forward.
        norm: What the sublayer sees the stream through.

    Example:
        >>> import torch
        >>> pre_norm(torch.tensor([3.0]), sublayer=lambda y: 10 * y, norm=lambda y: y / 3)
        tensor([13.])
    """
    return x + sublayer(norm(x))


def post_norm(
    x: Float[Tensor, "*batch d_model"], sublayer: Map, norm: Map
) -> Float[Tensor, "*batch d_model"]:
    """Compute norm(x + sublayer(x)): the order of the first Transformer (Vaswani et al., 2017).

    Args:
        x: The residual stream.
        sublayer: Attention or feed-forward.
        norm: What the sum goes through.

    Example:
        >>> import torch
        >>> post_norm(torch.tensor([3.0]), sublayer=lambda y: 10 * y, norm=lambda y: y / 3)
        tensor([11.])
    """
    return norm(x + sublayer(x))


class TransformerBlock(Module):
    """Attention, then feed-forward, each around the residual stream.

    Args:
        attn: Called with (x, positions) and, by name, with what else a pass through the model carries: see
            `CausalSelfAttention.forward`.
        ffn: Called with x.
        ln1: Norm that goes with `attn`.
        ln2: Norm that goes with `ffn`.
        residual: How stream, sublayer and norm meet: `pre_norm` or `post_norm`.
        embedding_shortcut: Called with the stream and the embedding; the result takes the stream's place
            before anything else. None leaves it out.

    Example:
        >>> import torch
        >>> from hornbook.nn import CausalSelfAttention, RMSNorm, SwiGLU
        >>> block = TransformerBlock(
        ...     attn=CausalSelfAttention(32, 4), ffn=SwiGLU(32, 96), ln1=RMSNorm(32), ln2=RMSNorm(32)
        ... )
        >>> block(torch.zeros(2, 10, 32)).shape
        torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        *,
        attn: Module,
        ffn: Module,
        ln1: Module,
        ln2: Module,
        residual: Callable[[Tensor, Map, Map], Tensor] = pre_norm,
        embedding_shortcut: Module | None = None,
    ) -> None:
        super().__init__()
        self.ln1 = ln1
        self.attn = attn
        self.ln2 = ln2
        self.ffn = ffn
        self.residual = residual
        self.embedding_shortcut = embedding_shortcut

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        positions: Int[Tensor, "... seq"] | None = None,
        *,
        embedding: Float[Tensor, "*batch seq d_model"] | None = None,
        mask: Bool[Tensor, "... seq keys"] | None = None,
        cache: LayerCache | None = None,
        first_value: FirstValue | None = None,
        rotate: Rotation | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Add to the stream.

        Args:
            x: The residual stream.
            positions: For the attention; so are the others that are not named here.
            embedding: What the stream was before the first block, for the shortcut; None: x itself.
            mask: True where a position may attend to another; None is causal.
            cache: Keys and values of the positions before these.
            first_value: The values of the first layer.
            rotate: The rotation by these positions.
        """
        if self.embedding_shortcut is not None:
            x = self.embedding_shortcut(x, x if embedding is None else embedding)
        attend = partial(
            self.attn, positions=positions, mask=mask, cache=cache, first_value=first_value, rotate=rotate
        )
        return self.residual(self.residual(x, attend, self.ln1), self.ffn, self.ln2)
