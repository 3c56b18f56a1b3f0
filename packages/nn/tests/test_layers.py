import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as reference
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module
from torch.nn.functional import linear, silu

import hornbook.nn
from hornbook.nn import MLP, Embedding, Linear, RMSNorm, SwiGLU

DOUBLE = torch.float64
Agree = Callable[..., None]


def with_weights(layer: Module, *names: str) -> Callable[..., Tensor]:
    """The layer as a function of its input and its weights, so that both get gradients."""

    def call(x: Tensor, *weights: Tensor) -> Tensor:
        out: Tensor = functional_call(layer, dict(zip(names, weights, strict=True)), (x,))
        return out

    return call


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_linear_is_torchs(assert_agree: Agree, batch: tuple[int, ...]) -> None:
    layer = Linear(5, 7, dtype=DOUBLE)
    assert_agree(with_weights(layer, "weight"), linear, torch.randn(*batch, 5, dtype=DOUBLE), layer.weight)


def test_embedding_is_torchs(assert_agree: Agree) -> None:
    layer = Embedding(10, 4, dtype=DOUBLE)
    token_ids = torch.randint(10, (3, 20))  # most ids several times: their gradients add up
    assert_agree(
        lambda weight: with_weights(layer, "weight")(token_ids, weight),
        lambda weight: reference.embedding(token_ids, weight),
        layer.weight,
    )


def test_embedding_takes_one_id_and_no_id() -> None:
    layer = Embedding(10, 4)
    assert torch.equal(layer(torch.tensor(7)), layer.weight[7])
    assert layer(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 4)


@pytest.mark.parametrize("bad", [-1, 10])
def test_embedding_refuses_ids_outside_the_vocabulary(bad: int) -> None:
    message = rf"token ids must be from 0 to 9, got ids from {min(bad, 3)} to {max(bad, 3)}"
    with pytest.raises(ValueError, match=message):
        Embedding(10, 4)(torch.tensor([3, bad]))


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_rms_norm_is_torchs(assert_agree: Agree, batch: tuple[int, ...]) -> None:
    layer = RMSNorm(6, eps=1e-3, dtype=DOUBLE)
    x, gain = torch.randn(*batch, 6, dtype=DOUBLE), torch.randn(6, dtype=DOUBLE)
    assert_agree(
        with_weights(layer, "weight"), lambda x, gain: reference.rms_norm(x, (6,), gain, 1e-3), x, gain
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rms_norm_of_half_precision_is_the_float32_result_rounded_once(dtype: torch.dtype) -> None:
    layer = RMSNorm(512)
    x = (300 * torch.randn(8, 512)).to(dtype)  # 300 squared is beyond float16
    assert layer(x).dtype == dtype
    assert torch.equal(layer(x), layer(x.float()).to(dtype))


def test_rms_norm_ignores_a_scale() -> None:
    layer = RMSNorm(16, eps=1e-30, dtype=DOUBLE)
    x = torch.randn(5, 16, dtype=DOUBLE)
    torch.testing.assert_close(layer(1000 * x), layer(x), rtol=1e-12, atol=0)


def test_rms_norm_of_zeros_is_zeros_with_a_finite_gradient() -> None:
    x = torch.zeros(3, 4, requires_grad=True)
    out = RMSNorm(4)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert out.eq(0).all()
    assert gradient.isfinite().all()


def test_swiglu_is_its_formula_in_torchs_terms(assert_agree: Agree) -> None:
    layer = SwiGLU(4, 6, dtype=DOUBLE)
    assert_agree(
        with_weights(layer, "w1.weight", "w2.weight", "w3.weight"),
        lambda x, w1, w2, w3: linear(reference.silu(linear(x, w1)) * linear(x, w3), w2),
        torch.randn(2, 3, 4, dtype=DOUBLE),
        layer.w1.weight,
        layer.w2.weight,
        layer.w3.weight,
    )


def test_silu_feed_forward_is_its_formula_in_torchs_terms(assert_agree: Agree) -> None:
    layer = MLP(4, 6, dtype=DOUBLE, activation=hornbook.nn.silu)
    assert_agree(
        with_weights(layer, "w1.weight", "w2.weight"),
        lambda x, w1, w2: linear(silu(linear(x, w1)), w2),
        torch.randn(2, 3, 4, dtype=DOUBLE),
        layer.w1.weight,
        layer.w2.weight,
    )


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.randn(2, 4, dtype=DOUBLE, requires_grad=True)
    layers: list[Module] = [Linear(4, 3), RMSNorm(4), SwiGLU(4, 6), MLP(4, 6, activation=hornbook.nn.silu)]
    for layer in layers:
        assert torch.autograd.gradcheck(layer.double(), x)


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (Linear(300, 700), math.sqrt(2 / 1000)),
        (Linear(700, 300), math.sqrt(2 / 1000)),
        (Embedding(900, 300), 1),
    ],
)
def test_initial_values_are_normal_and_cut_at_three_sigma(layer: Linear | Embedding, std: float) -> None:
    values = layer.weight.detach().double().flatten() / std
    n = values.numel()
    assert values.abs().max() <= 3 + 1e-6
    assert values.abs().max() > 2.99  # 0.015 % of the values: at least 30 of them
    # The variance of the cut normal is 1 - 2 * 3 phi(3) / (2 Phi(3) - 1).
    variance = 1 - 6 * math.exp(-4.5) / math.sqrt(2 * math.pi) / math.erf(3 / math.sqrt(2))
    assert abs(values.mean()) < 5 / math.sqrt(n)
    assert abs(values.var() - variance) < 5 * math.sqrt(2 / n)
    within_one = math.erf(1 / math.sqrt(2)) / math.erf(3 / math.sqrt(2))
    assert abs((values.abs() < 1).double().mean() - within_one) < 5 * 0.5 / math.sqrt(n)


def test_gains_begin_at_one() -> None:
    assert torch.equal(RMSNorm(5).weight.detach(), torch.ones(5))


def test_half_precision_begins_as_the_float32_values_rounded() -> None:
    torch.manual_seed(1)
    exact = Linear(20, 30)
    torch.manual_seed(1)
    half = Linear(20, 30, dtype=torch.bfloat16)
    assert torch.equal(half.weight, exact.weight.bfloat16())


@pytest.mark.parametrize("make", [Linear, Embedding, SwiGLU, partial(MLP, activation=hornbook.nn.silu)])
def test_sizes_must_be_positive_ints(make: Callable[[object, object], Module]) -> None:
    with pytest.raises(ValueError, match=r"must be positive, got 0"):
        make(0, 4)
    with pytest.raises(ValueError, match=r"must be positive, got -3"):
        make(4, -3)


@pytest.mark.parametrize("eps", [0.0, -1e-5, math.nan, math.inf])
def test_rms_norm_refuses_an_eps_that_is_not_positive(eps: float) -> None:
    with pytest.raises(ValueError, match="eps must be positive and finite, got"):
        RMSNorm(4, eps)


def test_repr_shows_the_sizes() -> None:
    assert repr(Linear(3, 5)) == "Linear(in_features=3, out_features=5)"
    assert repr(Embedding(3, 5)) == "Embedding(num_embeddings=3, embedding_dim=5)"
    assert repr(RMSNorm(3)) == "RMSNorm(d_model=3, eps=1e-05)"
