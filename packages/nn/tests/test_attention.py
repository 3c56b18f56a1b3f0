import math

import pytest
import torch
from torch import Tensor

from hornbook.nn import CausalSelfAttention, RotaryEmbedding

DOUBLE = torch.float64


def attend_head_by_head(layer: CausalSelfAttention, x: Tensor, positions: Tensor | None = None) -> Tensor:
    """One sequence, one head and one query at a time."""
    seq, d_model = x.shape
    width = d_model // layer.num_heads
    positions = torch.arange(seq) if positions is None else positions
    heads = []
    for head in range(layer.num_heads):
        rows = slice(head * width, (head + 1) * width)
        query, key, value = (x @ proj.weight[rows].T for proj in (layer.q_proj, layer.k_proj, layer.v_proj))
        if layer.rope is not None:
            query, key = layer.rope(query, positions), layer.rope(key, positions)
        outputs = []
        for i in range(seq):
            weights = [math.exp(float(query[i] @ key[j]) / math.sqrt(width)) for j in range(i + 1)]
            total = sum(weights)
            outputs.append(torch.stack([w / total * value[j] for j, w in enumerate(weights)]).sum(0))
        heads.append(torch.stack(outputs))
    return torch.cat(heads, dim=-1) @ layer.output_proj.weight.T


def layer_of(*, heads: int, rope: bool) -> CausalSelfAttention:
    positions = RotaryEmbedding(100.0, 12 // heads, 30, dtype=DOUBLE) if rope else None
    return CausalSelfAttention(12, heads, rope=positions, dtype=DOUBLE).requires_grad_(False)


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("rope", [False, True])
def test_attention_is_a_loop_over_heads_and_queries(heads: int, rope: bool) -> None:
    layer = layer_of(heads=heads, rope=rope)
    x = torch.randn(2, 7, 12, dtype=DOUBLE)
    expected = torch.stack([attend_head_by_head(layer, row) for row in x])
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_positions_reach_the_rotation() -> None:
    layer = layer_of(heads=2, rope=True)
    x, positions = torch.randn(2, 7, 12, dtype=DOUBLE), torch.randint(30, (2, 7))
    expected = torch.stack([attend_head_by_head(layer, *pair) for pair in zip(x, positions, strict=True)])
    torch.testing.assert_close(layer(x, positions), expected, rtol=1e-12, atol=1e-12)
    shifted = layer(x, torch.arange(5, 12))
    torch.testing.assert_close(shifted, layer(x), rtol=1e-11, atol=1e-12)  # differences are the same


def test_leading_axes_commute_with_attention() -> None:
    layer = layer_of(heads=3, rope=True)
    x = torch.randn(2, 3, 4, 5, 12, dtype=DOUBLE)
    flat = layer(x.flatten(0, 2)).view_as(x)
    torch.testing.assert_close(layer(x), flat, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x[1, 2, 3]), flat[1, 2, 3], rtol=1e-12, atol=1e-12)


def test_without_positions_the_order_of_the_past_does_not_matter_and_with_them_it_does() -> None:
    x = torch.randn(6, 12, dtype=DOUBLE)
    shuffled = torch.cat((x[:5].flip(0), x[5:]))
    blind, seeing = layer_of(heads=2, rope=False), layer_of(heads=2, rope=True)
    torch.testing.assert_close(blind(x)[5], blind(shuffled)[5], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(seeing(x)[5], seeing(shuffled)[5])


def test_gradient_is_that_of_finite_differences() -> None:
    layer = CausalSelfAttention(4, 2, rope=RotaryEmbedding(10.0, 2, 3)).double()
    assert torch.autograd.gradcheck(layer, torch.randn(2, 3, 4, dtype=DOUBLE, requires_grad=True))


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="d_model must be a multiple of num_heads, got 12 and 5"):
        CausalSelfAttention(12, 5)
    with pytest.raises(ValueError, match="rope is for heads of 4 features, these have 6"):
        CausalSelfAttention(12, 2, rope=RotaryEmbedding(10.0, 4, 3))
    with pytest.raises(ValueError, match="num_heads must be positive, got 0"):
        CausalSelfAttention(12, 0)
