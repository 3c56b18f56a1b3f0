"""The block and the language model."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module, ModuleList

from .attention import CausalSelfAttention
from .config import TransformerConfig
from .embedding import Embedding
from .feed_forward import SiLUFeedForward, SwiGLU
from .linear import Linear
from .norm import Identity, RMSNorm
from .rope import RotaryEmbedding

Map = Callable[[Tensor], Tensor]


def pre_norm(x: Float[Tensor, "*batch d_model"], sublayer: Map, norm: Map) -> Float[Tensor, "*batch d_model"]:
    """Compute x + sublayer(norm(x)): the stream itself is never normalized (Xiong et al., 2020).

    Args:
        x: The residual stream.
        sublayer: Attention or feed-forward.
        norm: What the sublayer sees the stream through.

    Example:
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
        >>> post_norm(torch.tensor([3.0]), sublayer=lambda y: 10 * y, norm=lambda y: y / 3)
        tensor([11.])
    """
    return norm(x + sublayer(x))


class TransformerBlock(Module):
    """Attention, then feed-forward, each around the residual stream.

    Args:
        attn: Called with (x, positions).
        ffn: Called with x.
        ln1: Norm that goes with `attn`.
        ln2: Norm that goes with `ffn`.
        residual: How stream, sublayer and norm meet: `pre_norm` or `post_norm`.

    Example:
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
    ) -> None:
        super().__init__()
        self.ln1 = ln1
        self.attn = attn
        self.ln2 = ln2
        self.ffn = ffn
        self.residual = residual

    def forward(
        self, x: Float[Tensor, "*batch seq d_model"], positions: Int[Tensor, "... seq"] | None = None
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Add to the stream; `positions` go to the attention."""
        x = self.residual(x, lambda y: self.attn(y, positions), self.ln1)
        return self.residual(x, self.ffn, self.ln2)


class TransformerLM(Module):
    """A decoder-only language model: embedding, blocks, final norm, head.

    Initial values come from torch's global generator: after the same `torch.manual_seed` the same config
    gives the same weights. The state dict has the names of Stanford CS336, assignment 1 (2025), such as
    layers.0.attn.q_proj.weight.

    With `tied_embeddings` the head and the embedding are one Parameter. `named_parameters` lists it once, as
    token_embeddings.weight; `state_dict` has it under both names, with one `data_ptr`. Its initial values are
    those of the head, N(0, 2 / (vocab_size + d_model)): a table of N(0, 1) as head gives logits with a
    standard deviation of sqrt(d_model). With 10,000 tokens and d_model 512 the first loss is 9.24 so, against
    349 with N(0, 1) and 9.69 with N(0, 1 / d_model); log(10,000) is 9.21.

    Args:
        config: The shape.
        device: Where the parameters are made. On "meta" nothing is allocated; such a model becomes real by
            `to_empty(device=...)` and `load_state_dict`.
        dtype: Of the parameters.

    Example:
        >>> config = TransformerConfig(
        ...     vocab_size=100, context_length=16, num_layers=2, d_model=32, num_heads=4, d_ff=96
        ... )
        >>> model = TransformerLM(config)
        >>> model(torch.tensor([[5, 17, 99]])).shape
        torch.Size([1, 3, 100])
        >>> sum(p.numel() for p in model.parameters())
        33184
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        c = config

        def norm(*, present: bool) -> Module:
            return RMSNorm(c.d_model, c.norm_eps, device=device, dtype=dtype) if present else Identity()

        rope = None
        if c.position == "rope":  # one table for all layers
            rope = RotaryEmbedding(c.rope_theta, c.head_dim, c.context_length, device=device, dtype=dtype)
        ffn = {"swiglu": SwiGLU, "silu": SiLUFeedForward}[c.ffn]
        residual = post_norm if c.norm == "post" else pre_norm

        self.token_embeddings = Embedding(c.vocab_size, c.d_model, device=device, dtype=dtype)
        self.layers = ModuleList(
            TransformerBlock(
                attn=CausalSelfAttention(c.d_model, c.num_heads, rope=rope, device=device, dtype=dtype),
                ffn=ffn(c.d_model, c.d_ff, device=device, dtype=dtype),
                ln1=norm(present=c.norm != "none"),
                ln2=norm(present=c.norm != "none"),
                residual=residual,
            )
            for _ in range(c.num_layers)
        )
        # After post-norm blocks the stream is normalized already.
        self.ln_final = norm(present=c.norm == "pre")
        self.lm_head = Linear(c.d_model, c.vocab_size, device=device, dtype=dtype)
        if c.tied_embeddings:
            self.token_embeddings.weight = self.lm_head.weight
            # Loading with assign=True takes a Parameter per name, too.
            self.register_load_state_dict_post_hook(_tie_head)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TransformerLM":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.config.tied_embeddings:
            # Where torch cannot change a Parameter in place, as in to_empty, it makes a new one per name.
            _tie_head(self)
        return self

    def forward(self, token_ids: Int[Tensor, "*batch seq"]) -> Float[Tensor, "*batch seq vocab"]:
        """Score every token of the vocabulary as the next, after each position.

        Args:
            token_ids: Up to `context_length` ids each; shorter is fine.

        Raises:
            ValueError: If the input is longer than the context or, on the CPU, an id not in the vocabulary.
        """
        seq = token_ids.shape[-1]
        if seq > self.config.context_length:
            msg = f"the input has {seq} tokens, more than the context_length of {self.config.context_length}"
            raise ValueError(msg)
        positions = torch.arange(seq, device=token_ids.device)
        x = self.token_embeddings(token_ids)
        for layer in self.layers:
            x = layer(x, positions)
        logits: Float[Tensor, "*batch seq vocab"] = self.lm_head(self.ln_final(x))
        return logits


def _tie_head(model: TransformerLM, _: object = None) -> None:
    model.lm_head.weight = model.token_embeddings.weight
