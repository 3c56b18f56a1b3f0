import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import causal_mask, scaled_dot_product_attention, silu, softmax

DOUBLE = torch.float64
Agree = Callable[..., None]
anything = st.floats(-1e4, 1e4)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_is_torchs(assert_agree: Agree, dim: int) -> None:
    x = 5 * torch.randn(4, 3, 7, dtype=DOUBLE)
    assert_agree(lambda x: softmax(x, dim), lambda x: reference.softmax(x, dim), x)


@settings(deadline=None, max_examples=50)
@given(st.lists(anything, min_size=1, max_size=8), anything)
def test_softmax_ignores_a_shift_and_sums_to_one(values: list[float], shift: float) -> None:
    x = torch.tensor(values, dtype=DOUBLE)
    torch.testing.assert_close(softmax(x + shift, 0), softmax(x, 0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(softmax(x, 0).sum().item(), 1.0, rtol=1e-12, atol=0)


def test_softmax_of_nothing_but_minus_infinity_is_zero_and_passes_no_gradient() -> None:
    x = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], requires_grad=True)
    out = softmax(x, -1)
    assert out.tolist() == [[0, 0], [1, 0]]
    (gradient,) = torch.autograd.grad((out * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum(), x)
    assert gradient.tolist() == [[0, 0], [0, 0]]


def test_softmax_passes_nan_on() -> None:
    assert softmax(torch.tensor([0.0, math.nan]), 0).isnan().all()


def test_softmax_of_half_precision_is_the_float32_result_rounded_once() -> None:
    x = (5 * torch.randn(10, 100)).bfloat16()
    assert torch.equal(softmax(x, 1), softmax(x.float(), 1).bfloat16())


def test_silu_is_torchs(assert_agree: Agree) -> None:
    assert_agree(silu, reference.silu, 10 * torch.randn(3, 50, dtype=DOUBLE))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs(assert_agree: Agree, batch: tuple[int, ...], masked: bool) -> None:
    query = torch.randn(*batch, 5, 8, dtype=DOUBLE)
    key = torch.randn(*batch, 7, 8, dtype=DOUBLE)
    value = torch.randn(*batch, 7, 3, dtype=DOUBLE)
    mask = None
    if masked:
        mask = torch.rand(5, 7) < 0.5
        mask[2] = False  # a query that may attend to nothing
        mask[3] = torch.arange(7) == 4  # and one that may attend to one key
    assert_agree(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, mask),
        lambda q, k, v: reference.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        query,
        key,
        value,
    )


def test_a_query_that_may_attend_to_nothing_gets_zeros() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    query, key, value = torch.randn(3, 2, 4).unbind()
    out = scaled_dot_product_attention(query, key, value, mask)
    assert out[0].ne(0).all()
    assert out[1].eq(0).all()


def test_a_mask_per_batch_entry_is_applied_to_that_entry() -> None:
    query, key, value = torch.randn(3, 2, 4, 8, dtype=DOUBLE).unbind()
    mask = torch.rand(2, 4, 4) < 0.5
    together = scaled_dot_product_attention(query, key, value, mask)
    for i in range(2):
        alone = scaled_dot_product_attention(query[i], key[i], value[i], mask[i])
        torch.testing.assert_close(together[i], alone, rtol=1e-12, atol=1e-12)


def test_attention_of_bfloat16_normalizes_in_float32() -> None:
    query, key, value = torch.randn(3, 600, 16).bfloat16().unbind()
    out = scaled_dot_product_attention(query, key, value)
    exact = reference.scaled_dot_product_attention(query.double(), key.double(), value.double())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), exact, rtol=0.02, atol=0.004)


def test_a_query_cannot_see_the_future() -> None:
    query, key, value = torch.randn(3, 8, 16).unbind()
    before = scaled_dot_product_attention(query, key, value, causal_mask(8))
    key[5:], value[5:] = torch.randn(2, 3, 16).unbind()
    after = scaled_dot_product_attention(query, key, value, causal_mask(8))
    assert torch.equal(before[:5], after[:5])
    assert not torch.isclose(before[5:], after[5:]).any(-1).all()


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.randn(3, 5, dtype=DOUBLE, requires_grad=True)
    query, key, value = (torch.randn(4, 3, dtype=DOUBLE, requires_grad=True) for _ in range(3))
    mask = causal_mask(4)
    assert torch.autograd.gradcheck(silu, x)
    assert torch.autograd.gradcheck(lambda x: softmax(x, -1), x)
    assert torch.autograd.gradcheck(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, mask), (query, key, value)
    )
    assert torch.autograd.gradgradcheck(lambda x: softmax(x, -1), x)
