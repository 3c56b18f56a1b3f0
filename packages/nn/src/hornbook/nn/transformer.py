"""The language model: embedding, blocks, final norm, head."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Module, ModuleList

from .attention import CausalSelfAttention
from .block import TransformerBlock, post_norm, pre_norm
from .cache import KVCache
from .config import TransformerConfig
from .embedding import Embedding
from .feed_forward import MLP, SwiGLU
from .functional import silu, softcap, squared_relu
from .linear import Linear, only_multiplies
from .loss import Reduction, cross_entropy, linear_cross_entropy
from .norm import Identity, RMSNorm
from .rope import RotaryEmbedding
from .shortcuts import FirstValue, LearnedMix

_FEED_FORWARDS: dict[str, Callable[..., Module]] = {
    "swiglu": SwiGLU,
    "silu": partial(MLP, activation=silu),
    "relu2": partial(MLP, activation=squared_relu),
}


class TransformerLM(Module):
    """A decoder-only language model: embedding, blocks, final norm, head.

    Initial values come from torch's global generator: after the same `torch.manual_seed` the same config
    gives the same weights. The state dict has the names of Stanford CS336, assignment 1 (2025), such as
    layers.0.attn.q_proj.weight; what the assignment does not have is named as in the table below, within
    its block: layers.0.attn.q_norm.weight.

    With `tied_embeddings` the head and the embedding are one Parameter. `named_parameters` lists it once, as
    token_embeddings.weight; `state_dict` has it under both names, with one `data_ptr`. Its initial values are
    those of the head, N(0, 2 / (vocab_size + d_model)): a table of N(0, 1) as head gives logits with a
    standard deviation of sqrt(d_model). With 10,000 tokens and d_model 512 the first loss is 9.24 so, against
    349 with N(0, 1) and 9.69 with N(0, 1 / d_model); log(10,000) is 9.21.

    Initial values of each tensor, by its name's last parts:

        token_embeddings                        N(0, 1), or as the head where it is the head
        q_proj, k_proj, v_proj, output_proj,    N(0, 2 / (in + out)), cut at three standard deviations;
        w1, w2, w3, lm_head                     output_proj and w2 are 0 with `zero_init_outputs`
        ln1, ln2, ln_final, q_norm, k_norm      1
        value_residual                          1/2 for the layer's own values, 1/2 for the first layer's
        embedding_shortcut                      1 for the stream, 0 for the embedding

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
        self.token_embeddings = Embedding(config.vocab_size, config.d_model, device=device, dtype=dtype)
        rope = None
        if config.position == "rope":  # one table for all layers
            rope = RotaryEmbedding(
                config.rope_theta,
                config.head_width,
                config.context_length,
                scaling=config.rope_scaling,
                device=device,
                dtype=dtype,
            )
        self.layers = ModuleList(
            _block(config, rope, is_first=layer == 0, device=device, dtype=dtype)
            for layer in range(config.num_layers)
        )
        self.rope = rope
        # After post-norm blocks the stream is normalized already.
        self.ln_final = (
            RMSNorm(config.d_model, config.norm_eps, device=device, dtype=dtype)
            if config.norm == "pre"
            else Identity()
        )
        self.lm_head = Linear(config.d_model, config.vocab_size, device=device, dtype=dtype)
        if config.tied_embeddings:
            self.token_embeddings.weight = self.lm_head.weight
            # Loading with assign=True takes a Parameter per name, too.
            self.register_load_state_dict_post_hook(_tie_head)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TransformerLM":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.config.tied_embeddings:
            # Where torch cannot change a Parameter in place, as in to_empty, it makes a new one per name.
            _tie_head(self)
        return self

    def forward(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        positions: Int[Tensor, "... seq"] | None = None,
        *,
        mask: Bool[Tensor, "... seq keys"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "*batch seq vocab"]:
        """Score every token of the vocabulary as the next, after each position.

        Args:
            token_ids: Up to `context_length` ids each, those in the cache included; shorter is fine.
            positions: Place of each id in its text; None counts on from what the cache holds, or from 0.
            mask: True where a position may attend to another, those in the cache first; None is causal.
            cache: Holds what went before; takes these as well.

        Raises:
            TypeError: If ids or positions are not int64 or int32, or the mask is not bool.
            ValueError: If the input has no axis, is longer than the context, has other positions than ids or
                a mask of another shape or, on the CPU, an id is not in the vocabulary.
        """
        return self._logits(self.hidden(token_ids, positions, mask=mask, cache=cache))

    def hidden(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        positions: Int[Tensor, "... seq"] | None = None,
        *,
        mask: Bool[Tensor, "... seq keys"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Compute what the head sees: everything but the logits. Arguments and errors are those of a call.

        Args:
            token_ids: Up to `context_length` ids each.
            positions: Place of each id in its text.
            mask: True where a position may attend to another.
            cache: Holds what went before.

        Raises:
            TypeError: As for a call.
            ValueError: Likewise.
        """
        if not isinstance(token_ids, Tensor):
            msg = f"token_ids must be a tensor, got {type(token_ids).__name__}: torch.tensor makes one of it"
            raise TypeError(msg)
        if token_ids.ndim == 0:
            msg = f"token_ids must have an axis of positions, got one id: {token_ids!r}"
            raise ValueError(msg)
        start = 0 if cache is None else cache.length
        end = start + token_ids.shape[-1]
        if end > self.config.context_length:
            msg = f"the input has {end} tokens, more than the context_length of {self.config.context_length}"
            raise ValueError(msg)
        if positions is None:
            positions = torch.arange(start, end, device=token_ids.device)
        elif positions.shape[-1:] != token_ids.shape[-1:]:
            shapes = f"{tuple(positions.shape)} and {tuple(token_ids.shape)}"
            msg = f"positions must be as many as token_ids along the last axis, got shapes {shapes}"
            raise ValueError(msg)
        x = embedding = self.token_embeddings(token_ids)
        # Looked up once for all layers and heads.
        rotate = None if self.rope is None else self.rope.at(positions.unsqueeze(-2))
        first_value = FirstValue() if self.config.value_residual else None
        for layer, block in enumerate(self.layers):
            x = block(
                x,
                positions,
                embedding=embedding,
                mask=mask,
                cache=None if cache is None else cache.layers[layer],
                first_value=first_value,
                rotate=rotate,
            )
        final: Float[Tensor, "*batch seq d_model"] = self.ln_final(x)
        return final

    def loss(
        self,
        token_ids: Int[Tensor, "*batch seq"],
        targets: Int[Tensor, "*batch seq"],
        positions: Int[Tensor, "... seq"] | None = None,
        *,
        mask: Bool[Tensor, "... seq keys"] | None = None,
        reduction: Reduction = "mean",
        ignore_index: int | None = None,
        z_loss: float = 0.0,
        chunk_size: int | None = None,
    ) -> Float[Tensor, "..."]:
        """Compute `cross_entropy` of the logits, in nats, but never hold all logits: `linear_cross_entropy`.

        A head that was replaced, or has hooks of its own, is called, and then all logits are there at once.

        Args:
            token_ids: Up to `context_length` ids each.
            targets: The id that follows each.
            positions: Place of each id in its text; None counts from 0.
            mask: True where a position may attend to another; None is causal.
            reduction: "mean", "sum" or "none".
            ignore_index: Targets to be left out.
            z_loss: Weight of the squared logarithm of the partition function.
            chunk_size: Tokens whose logits exist at a time; None: what suits the device.

        Raises:
            TypeError: If `chunk_size` is not an int.
            ValueError: As for a call and for `linear_cross_entropy`.
        """
        hidden = self.hidden(token_ids, positions, mask=mask)
        options: Any = {"reduction": reduction, "ignore_index": ignore_index, "z_loss": z_loss}
        if not only_multiplies(self.lm_head):
            return cross_entropy(self._logits(hidden), targets, **options)
        return linear_cross_entropy(
            hidden,
            self.lm_head.weight,
            targets,
            logit_softcap=self.config.logit_softcap,
            chunk_size=chunk_size,
            **options,
        )

    def _logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        logits: Float[Tensor, "*batch vocab"] = self.lm_head(hidden)
        cap = self.config.logit_softcap
        return logits if cap is None else softcap(logits, cap)


def _block(
    config: TransformerConfig, rope: RotaryEmbedding | None, *, is_first: bool, **where: Any
) -> TransformerBlock:
    """Put together the parts that a config names."""

    def norm(width: int) -> RMSNorm:
        return RMSNorm(width, config.norm_eps, **where)

    block = TransformerBlock(
        attn=CausalSelfAttention(
            config.d_model,
            config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            rope=rope,
            q_norm=norm(config.head_width) if config.qk_norm else None,
            k_norm=norm(config.head_width) if config.qk_norm else None,
            value_residual=(
                LearnedMix((0.5, 0.5), **where) if config.value_residual and not is_first else None
            ),
            attention=config.attention,
            **where,
        ),
        ffn=_FEED_FORWARDS[config.ffn](config.d_model, config.d_ff, **where),
        ln1=Identity() if config.norm == "none" else norm(config.d_model),
        ln2=Identity() if config.norm == "none" else norm(config.d_model),
        residual=post_norm if config.norm == "post" else pre_norm,
        embedding_shortcut=LearnedMix((1.0, 0.0), **where) if config.embedding_shortcut else None,
    )
    if config.zero_init_outputs:
        for name in ("attn.output_proj.weight", "ffn.w2.weight"):
            block.get_parameter(name).data.zero_()
    return block


def _tie_head(model: TransformerLM, _: object = None) -> None:
    model.lm_head.weight = model.token_embeddings.weight
