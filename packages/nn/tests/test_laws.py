"""What holds for the whole model whichever variant it is, with both ways to compute attention."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module
from torch.utils.checkpoint import checkpoint

from hornbook.nn import (
    MLP,
    CausalSelfAttention,
    Embedding,
    LearnedMix,
    Linear,
    RMSNorm,
    RotaryEmbedding,
    SwiGLU,
    TransformerBlock,
    TransformerConfig,
    TransformerLM,
    explicit_attention,
    fused_attention,
    post_norm,
    silu,
    squared_relu,
)
from hornbook.nn.config import Attention
from reference_lm import EVERYTHING, VARIANTS, configs

DOUBLE = torch.float64
both_kernels = pytest.mark.parametrize("attention", ["explicit", "fused"])
seeds = st.integers(0, 2**32 - 1)


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Compare relative to the largest entry: sums of many terms have errors of that size."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.detach().abs().max()))


def model_of(config: TransformerConfig, dtype: torch.dtype = DOUBLE) -> TransformerLM:
    """A model with no weight at a value, such as 0 or 1, at which its part could not be seen."""
    model = TransformerLM(config, dtype=dtype)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            parameter.data += 0.1 * torch.randn_like(parameter)
        if config.norm == "none":  # squares of squares: the stream would explode, and rounding errors with it
            parameter.data *= 0.5
    return model


def gradients_of(scalar: Tensor, model: TransformerLM) -> Tensor:
    """By all parameters, as one vector."""
    gradients = torch.autograd.grad(scalar, list(model.parameters()), materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def loss_and_gradients(model: TransformerLM, token_ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    loss = model.loss(token_ids, targets)
    return loss.detach(), gradients_of(loss, model)


@both_kernels
@settings(deadline=None, max_examples=40)
@given(config=configs(), seed=seeds, data=st.data())
def test_positions_matter_by_their_differences_or_without_rope_not_at_all(
    attention: Attention, config: TransformerConfig, seed: int, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    model = model_of(replace(config, attention=attention, context_length=100)).requires_grad_(False)
    seq = data.draw(st.integers(1, 12))
    # Tokens that differ, as far as there are enough: among equal ones attention averages equal values.
    token_ids = torch.stack([torch.randperm(max(seq, config.vocab_size))[:seq] for _ in range(2)])
    token_ids, positions = token_ids % config.vocab_size, torch.randint(40, (2, seq))
    shift = data.draw(st.integers(1, 60))
    assert_near(model(token_ids, positions + shift), model(token_ids, positions), 1e-11)
    assert torch.equal(model(token_ids), model(token_ids, torch.arange(seq)))
    if config.position == "none":
        assert torch.equal(model(token_ids, positions), model(token_ids))


@both_kernels
@settings(deadline=None, max_examples=40)
@given(config=configs(), seed=seeds, data=st.data())
def test_the_future_moves_neither_the_past_nor_its_gradient(
    attention: Attention, config: TransformerConfig, seed: int, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    model = model_of(replace(config, attention=attention))
    seq = data.draw(st.integers(2, config.context_length))
    now = data.draw(st.integers(0, seq - 2))
    token_ids = torch.randint(config.vocab_size, (2, seq))
    other = token_ids.clone()
    other[:, now + 1 :] = torch.randint(config.vocab_size, (2, seq - now - 1))
    embeddings: list[Tensor] = []
    model.token_embeddings.register_forward_hook(lambda *args: embeddings.append(args[-1]))
    first, second = model.hidden(token_ids), model.hidden(other)
    assert torch.equal(first[:, : now + 1], second[:, : now + 1])
    direction = torch.randn_like(first[:, now])
    gradients = []
    for hidden, embedded in zip((first, second), embeddings, strict=True):
        (gradient,) = torch.autograd.grad((hidden[:, now] * direction).sum(), embedded)
        assert gradient[:, now].ne(0).any(-1).all()
        assert gradient[:, now + 1 :].eq(0).all()
        gradients.append(gradient)
    assert torch.equal(*gradients)


@both_kernels
@settings(deadline=None, max_examples=40)
@given(
    config=configs(),
    batch=st.lists(st.integers(1, 3), max_size=3),
    seed=seeds,
    masked=st.booleans(),
    placed=st.booleans(),
)
def test_leading_axes_commute_with_the_model_its_positions_and_its_mask(
    attention: Attention, config: TransformerConfig, batch: list[int], seed: int, masked: bool, placed: bool
) -> None:
    torch.manual_seed(seed)
    model = model_of(replace(config, attention=attention)).requires_grad_(False)
    seq = config.context_length
    token_ids = torch.randint(config.vocab_size, (*batch, seq))
    positions = torch.randint(seq, (*batch, seq)) if placed else None
    mask = torch.rand(*batch, seq, seq) < 0.6 if masked else None  # some may attend to nothing
    together = model(token_ids, positions, mask=mask).reshape(-1, seq, config.vocab_size)
    assert together.isfinite().all()
    for row, logits in enumerate(together):
        alone = model(
            token_ids.reshape(-1, seq)[row],
            None if positions is None else positions.reshape(-1, seq)[row],
            mask=None if mask is None else mask.reshape(-1, seq, seq)[row],
        )
        assert_near(logits, alone, 1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (DOUBLE, 1e-12)])
@settings(deadline=None, max_examples=100)
@given(
    batch=st.lists(st.integers(1, 3), max_size=3),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    queries=st.integers(1, 40),
    past=st.integers(0, 40),
    head_dim=st.integers(1, 33),
    masked=st.booleans(),
    seed=seeds,
)
def test_the_fused_kernel_is_the_explicit_one(
    dtype: torch.dtype,
    tolerance: float,
    batch: list[int],
    kv_heads: int,
    group: int,
    queries: int,
    past: int,
    head_dim: int,
    masked: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    keys = queries + past
    query = torch.randn(*batch, kv_heads * group, queries, head_dim, dtype=dtype, requires_grad=True)
    key, value = (
        torch.randn(*batch, kv_heads, keys, head_dim, dtype=dtype, requires_grad=True) for _ in range(2)
    )
    mask = torch.rand(*batch, queries, keys) < 0.5 if masked else None
    direction = torch.randn_like(query)
    results = []
    for kernel in (explicit_attention, fused_attention):
        mixed = kernel(query, key, value, mask)
        results.append((mixed, *torch.autograd.grad((mixed * direction).sum(), (query, key, value))))
    for explicit, fused in zip(*results, strict=True):
        torch.testing.assert_close(
            fused, explicit, rtol=tolerance, atol=tolerance * max(1, math.sqrt(queries))
        )


@settings(deadline=None, max_examples=40)
@given(config=configs(), seed=seeds, single=st.booleans())
def test_a_model_is_the_same_with_either_kernel(config: TransformerConfig, seed: int, single: bool) -> None:
    torch.manual_seed(seed)
    dtype, tolerance = (torch.float32, 1e-5) if single else (DOUBLE, 1e-12)
    explicit = model_of(replace(config, attention="explicit"), dtype)
    fused = TransformerLM(replace(config, attention="fused"), dtype=dtype)
    fused.load_state_dict(explicit.state_dict())
    token_ids = torch.randint(config.vocab_size, (2, config.context_length))
    # Without the head: a logit may be the small difference of large numbers.
    ours, theirs = fused.hidden(token_ids), explicit.hidden(token_ids)
    direction = torch.randn_like(ours)
    assert_near(ours, theirs, tolerance)
    ours, theirs = (
        gradients_of((hidden * direction).sum(), model)
        for hidden, model in ((ours, fused), (theirs, explicit))
    )
    assert_near(ours, theirs, tolerance)


@both_kernels
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_autocast_to_bfloat16_stays_near_the_float32_model(
    attention: Attention, config: TransformerConfig
) -> None:
    model = model_of(replace(config, attention=attention), torch.float32)
    token_ids, targets = torch.randint(config.vocab_size, (2, 4, config.context_length))
    logits = model(token_ids)
    loss, gradients = loss_and_gradients(model, token_ids, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded_logits = model(token_ids)
        rounded_loss, rounded_gradients = loss_and_gradients(model, token_ids, targets)
    # bfloat16 has 8 bits: each step rounds by up to 0.4 %, and the errors of some twenty steps in a row add
    # up. The worst of 20 seeds of every variant: 6 % (logits), 0.12 % (loss), 11 % (gradients).
    assert_near(rounded_logits.float(), logits, 0.1)
    assert_near(rounded_loss, loss, 0.003)
    assert (rounded_gradients - gradients).norm() < 0.2 * gradients.norm()


@both_kernels
@settings(deadline=None, max_examples=25)
@given(config=configs(), seed=seeds)
def test_checkpointing_every_layer_changes_no_bit(
    attention: Attention, config: TransformerConfig, seed: int
) -> None:
    torch.manual_seed(seed)
    model = model_of(replace(config, attention=attention), torch.float32)
    token_ids, targets = torch.randint(config.vocab_size, (2, 2, config.context_length))
    plain = loss_and_gradients(model, token_ids, targets)
    calls: list[int] = []
    for layer in model.layers:
        layer.get_submodule("attn").register_forward_pre_hook(lambda *_: calls.append(1))
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    again = loss_and_gradients(model, token_ids, targets)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, plain, strict=True))
    assert len(calls) == 2 * config.num_layers  # each layer ran a second time, going backward


def attention_layer(attention: Attention, *, mixes: bool) -> CausalSelfAttention:
    rope = RotaryEmbedding(10.0, 2, 3)
    value_residual = LearnedMix((0.5, 0.5)) if mixes else None
    q_norm, k_norm = (RMSNorm(2), RMSNorm(2)) if mixes else (None, None)
    return CausalSelfAttention(
        4,
        2,
        num_kv_heads=1,
        rope=rope,
        q_norm=q_norm,
        k_norm=k_norm,
        value_residual=value_residual,
        attention=attention,
    )


LAYERS: dict[str, Callable[[], Module]] = {
    "linear": lambda: Linear(4, 3),
    "norm": lambda: RMSNorm(4),
    "swiglu": lambda: SwiGLU(4, 6),
    "silu": lambda: MLP(4, 6, activation=silu),
    "relu2": lambda: MLP(4, 6, activation=squared_relu),
    "explicit attention": lambda: attention_layer("explicit", mixes=False),
    "fused attention": lambda: attention_layer("fused", mixes=False),
    "attention with all its parts": lambda: attention_layer("explicit", mixes=True),
    "block": lambda: TransformerBlock(
        attn=attention_layer("fused", mixes=True),
        ffn=SwiGLU(4, 6),
        ln1=RMSNorm(4),
        ln2=RMSNorm(4),
        embedding_shortcut=LearnedMix((0.5, 0.5)),
    ),
    "post-norm block": lambda: TransformerBlock(
        attn=attention_layer("explicit", mixes=False),
        ffn=MLP(4, 6, activation=squared_relu),
        ln1=RMSNorm(4),
        ln2=RMSNorm(4),
        residual=post_norm,
    ),
}


def assert_gradients_are_finite_differences(layer: Module, *inputs: Tensor, in_all: bool = True) -> None:
    """By the inputs that ask for it and by every parameter, in all directions or in random ones."""
    names = [name for name, _ in layer.named_parameters()]
    parameters = [parameter.detach().requires_grad_() for parameter in layer.parameters()]

    def call(*arguments: Tensor) -> Tensor:
        named = dict(zip(names, arguments[len(inputs) :], strict=True))
        out: Tensor = functional_call(layer, named, arguments[: len(inputs)])
        return out

    assert torch.autograd.gradcheck(call, (*inputs, *parameters), atol=1e-7, fast_mode=not in_all)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_a_layer_are_finite_differences(name: str) -> None:
    assert_gradients_are_finite_differences(
        LAYERS[name]().double(), torch.randn(2, 3, 4, dtype=DOUBLE, requires_grad=True)
    )


def test_gradients_of_the_embedding_and_of_a_mix_are_finite_differences() -> None:
    assert_gradients_are_finite_differences(Embedding(5, 2, dtype=DOUBLE), torch.tensor([[0, 3, 3]]))
    x, y = torch.randn(2, 3, 4, dtype=DOUBLE, requires_grad=True).unbind()
    assert_gradients_are_finite_differences(LearnedMix((0.3, 0.6), dtype=DOUBLE), x, y)


@both_kernels
def test_gradients_of_a_model_with_everything_are_finite_differences(attention: Attention) -> None:
    model = model_of(replace(EVERYTHING, attention=attention))
    assert_gradients_are_finite_differences(model, torch.tensor([[0, 3, 3]]), in_all=False)
