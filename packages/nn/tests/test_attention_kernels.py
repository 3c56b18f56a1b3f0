"""The two kernels of attention have one meaning."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.nn import attention_kernel, causal_mask, explicit_attention, fused_attention

DOUBLE = torch.float64
Kernel = Callable[..., Tensor]
both = pytest.mark.parametrize("kernel", [explicit_attention, fused_attention])


def inputs(
    batch: tuple[int, ...], heads: int, kv_heads: int, queries: int, keys: int, **how: Any
) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(*batch, heads, queries, 4, **how)
    key, value = torch.randn(2, *batch, kv_heads, keys, 4, **how).unbind()
    return query, key, value


def by_loops(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """One query of one head at a time; `mask` is (queries, keys)."""
    out = torch.zeros_like(query)
    group = query.shape[0] // key.shape[0]
    for head in range(query.shape[0]):
        for i in range(query.shape[1]):
            seen = mask[i].nonzero().flatten()
            scores = key[head // group, seen] @ query[head, i] / query.shape[-1] ** 0.5
            weights = (scores - scores.max()).exp() if len(seen) else scores
            if len(seen):
                out[head, i] = (weights / weights.sum()) @ value[head // group, seen]
    return out


@both
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (4, 2), (6, 2), (4, 1)])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 1), (1, 6), (3, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_a_loop_over_heads_and_queries(
    kernel: Kernel, heads: int, kv_heads: int, queries: int, keys: int, masked: bool
) -> None:
    query, key, value = inputs((), heads, kv_heads, queries, keys, dtype=DOUBLE)
    mask = torch.rand(queries, keys) < 0.6 if masked else None
    expected = by_loops(query, key, value, causal_mask(queries, keys) if mask is None else mask)
    torch.testing.assert_close(kernel(query, key, value, mask), expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.sampled_from([(), (1,), (3,), (2, 2)]),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    queries=st.integers(1, 5),
    past=st.integers(0, 4),
    masked=st.sampled_from(["causal", "one for all", "each its own"]),
    seed=st.integers(0, 999),
)
def test_both_kernels_agree_with_gradients(
    batch: tuple[int, ...], kv_heads: int, group: int, queries: int, past: int, masked: str, seed: int
) -> None:
    torch.manual_seed(seed)
    keys = queries + past
    query, key, value = (
        x.requires_grad_() for x in inputs(batch, group * kv_heads, kv_heads, queries, keys, dtype=DOUBLE)
    )
    mask = None
    if masked != "causal":
        shape = (queries, keys) if masked == "one for all" else (*batch, queries, keys)
        mask = torch.rand(shape) < 0.5  # some queries see nothing
    ours = fused_attention(query, key, value, mask)
    theirs = explicit_attention(query, key, value, mask)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(ours)
    leaves = (query, key, value)
    gradients = (torch.autograd.grad((out * weights).sum(), leaves) for out in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)


def test_in_float32_they_agree_to_a_hundred_thousandth_at_full_length() -> None:
    leaves = [x.requires_grad_() for x in inputs((2,), 4, 2, 256, 256)]
    ours, theirs = fused_attention(*leaves), explicit_attention(*leaves)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(ours)
    gradients = (torch.autograd.grad((out * weights).sum(), leaves) for out in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@both
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_a_query_that_sees_nothing_gets_zeros_and_passes_no_gradient(
    kernel: Kernel, dtype: torch.dtype
) -> None:
    leaves = [x.requires_grad_() for x in inputs((2,), 4, 2, 6, 6, dtype=dtype)]
    mask = torch.rand(2, 6, 6) < 0.7
    mask[:, 2] = False
    mask[1, 4] = False
    out = kernel(*leaves, mask)
    assert out[:, :, 2].eq(0).all() and out[1, :, 4].eq(0).all() and out.isfinite().all()
    (from_blind,) = torch.autograd.grad(out[:, :, 2].sum() + out[1, :, 4].sum(), leaves[1], retain_graph=True)
    assert from_blind.eq(0).all()
    gradients = torch.autograd.grad((out * torch.randn_like(out)).sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][:, :, 2].eq(0).all()


@both
def test_a_token_cannot_see_its_future_nor_be_moved_by_it(kernel: Kernel) -> None:
    query, key, value = (x.requires_grad_() for x in inputs((), 4, 2, 6, 6, dtype=DOUBLE))
    gradients = torch.autograd.grad(kernel(query, key, value)[:, :3].sum(), (query, key, value))
    assert all(gradient[:, 3:].eq(0).all() for gradient in gradients)
    assert all(gradient[:, :3].ne(0).any() for gradient in gradients[1:])


@both
def test_a_query_at_the_end_of_a_cache_sees_all_keys(kernel: Kernel) -> None:
    query, key, value = inputs((2,), 4, 2, 5, 5, dtype=DOUBLE)
    whole = kernel(query, key, value)
    for queries in (1, 2):
        last = kernel(query[..., -queries:, :], key, value)
        torch.testing.assert_close(last, whole[..., -queries:, :], rtol=1e-12, atol=1e-12)


def test_grouped_queries_of_the_fused_kernel_stay_on_flash_attention() -> None:
    """Otherwise torch builds all scores, in silence."""
    query, key, value = inputs((2,), 4, 2, 8, 8)
    for mask in (None, causal_mask(8)):
        with torch.profiler.profile() as profile:
            fused_attention(query, key, value, mask)
        names = {event.key for event in profile.key_averages()}
        assert "aten::_scaled_dot_product_flash_attention_for_cpu" in names


def test_auto_is_fused_where_that_is_known_to_be_fast() -> None:
    for device, expected in (
        ("cpu", fused_attention),
        ("cuda", fused_attention),
        ("mps", explicit_attention),
    ):
        assert attention_kernel("auto", torch.device(device)) is expected
        assert attention_kernel("explicit", torch.device(device)) is explicit_attention
        assert attention_kernel("fused", torch.device(device)) is fused_attention
