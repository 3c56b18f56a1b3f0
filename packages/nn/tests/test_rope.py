import math
from typing import Any
from unittest.mock import patch

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.nn import RopeScaling, RotaryEmbedding, TransformerConfig, TransformerLM

DOUBLE = torch.float64
FILL = RotaryEmbedding._fill_tables


def rotate_by_complex_numbers(x: Tensor, positions: Tensor, rope_theta: float) -> Tensor:
    """The paper's definition: features (2k, 2k + 1) are a complex number, times exp(i p theta^(-2k / d))."""
    head_dim = x.shape[-1]
    frequencies = torch.tensor(
        [rope_theta ** (-2 * k / head_dim) for k in range(head_dim // 2)], dtype=DOUBLE
    )
    turns = torch.polar(torch.ones((), dtype=DOUBLE), positions[..., None].double() * frequencies)
    pairs = torch.view_as_complex(rearrange(x, "... (pairs two) -> ... pairs two", two=2).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 8),
    st.floats(1.5, 1e6),
    st.lists(st.integers(0, 99), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_rotation_is_complex_multiplication(
    pairs: int, rope_theta: float, positions: list[int], seed: int
) -> None:
    rope = RotaryEmbedding(rope_theta, 2 * pairs, 100, dtype=DOUBLE)
    x = torch.randn(
        2, 3, len(positions), 2 * pairs, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed)
    )
    places = torch.tensor(positions)
    expected = rotate_by_complex_numbers(x, places, rope_theta)
    torch.testing.assert_close(rope(x, places), expected, rtol=1e-12, atol=1e-12)


def test_scores_depend_on_the_difference_of_positions_alone() -> None:
    rope = RotaryEmbedding(10_000.0, 16, 500, dtype=DOUBLE)
    query, key = torch.randn(2, 16, dtype=DOUBLE).unbind()

    def score(at_query: int, at_key: int) -> Tensor:
        places = torch.tensor([at_query, at_key])
        rotated: Tensor = rope(torch.stack((query, key)), places)
        return rotated[0] @ rotated[1]

    torch.testing.assert_close(score(7, 3), score(407, 403), rtol=1e-11, atol=1e-12)
    assert not torch.isclose(score(7, 3), score(8, 3))


def test_position_zero_is_not_rotated_and_lengths_are_kept() -> None:
    rope = RotaryEmbedding(10_000.0, 8, 10, dtype=DOUBLE)
    x = torch.randn(10, 8, dtype=DOUBLE)
    rotated = rope(x, torch.arange(10))
    assert torch.equal(rotated[0], x[0])
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1), rtol=1e-12, atol=0)


def test_positions_may_differ_within_the_batch() -> None:
    rope = RotaryEmbedding(10_000.0, 4, 20)
    x, positions = torch.randn(3, 5, 4), torch.randint(20, (3, 5))
    together = rope(x, positions)
    for i in range(3):
        torch.testing.assert_close(together[i], rope(x[i], positions[i]))


def test_a_pass_looks_up_its_angles_once_for_all_layers() -> None:
    config = TransformerConfig(vocab_size=9, context_length=50, num_layers=5, d_model=8, num_heads=1, d_ff=8)
    model, at = TransformerLM(config), RotaryEmbedding.at
    with patch.object(RotaryEmbedding, "at", autospec=True, side_effect=at) as look_up:
        model(torch.tensor([1, 2, 3]))
    assert look_up.call_count == 1
    # A layer by itself looks them up for itself.
    layer, x, places = model.layers[2].get_submodule("attn"), torch.randn(2, 3, 8), torch.tensor([4, 9, 2])
    assert model.rope is not None
    assert torch.equal(layer(x, places), layer(x, rotate=model.rope.at(places.unsqueeze(-2))))
    assert not torch.allclose(layer(x, places), layer(x))


def test_gradient_is_that_of_finite_differences() -> None:
    rope = RotaryEmbedding(100.0, 4, 20, dtype=DOUBLE)
    x = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rope(x, torch.tensor([1, 5, 19])), x)


def test_a_table_that_many_layers_share_is_made_once_a_move() -> None:
    config = TransformerConfig(vocab_size=9, context_length=50, num_layers=5, d_model=8, num_heads=1, d_ff=8)
    model = TransformerLM(config)
    with patch.object(RotaryEmbedding, "_fill_tables", autospec=True, side_effect=FILL) as fill:
        model.double().double()
    assert fill.call_count == 1
    tables = dict(model.named_buffers())
    assert torch.equal(tables["layers.0.attn.rope.cos"], RotaryEmbedding(10_000.0, 8, 50, dtype=DOUBLE).cos)


def test_tables_stay_exact_through_casts() -> None:
    exact = RotaryEmbedding(10_000.0, 8, 50, dtype=DOUBLE)
    single = RotaryEmbedding(10_000.0, 8, 50)
    assert torch.equal(single.cos, exact.cos.float())
    cast = RotaryEmbedding(10_000.0, 8, 50).bfloat16()
    assert torch.equal(cast.cos, single.cos)  # float32 still
    assert torch.equal(cast.sin, single.sin)
    assert torch.equal(cast.double().cos, exact.cos)  # not the float32 values widened


def test_half_precision_in_is_half_precision_out_rounded_once() -> None:
    rope = RotaryEmbedding(10_000.0, 8, 50)
    x, places = torch.randn(50, 8).bfloat16(), torch.arange(50)
    assert torch.equal(rope(x, places), rope(x.float(), places).bfloat16())


def test_tables_are_right_after_leaving_the_meta_device() -> None:
    rope = RotaryEmbedding(10_000.0, 8, 50, device="meta").to_empty(device="cpu")
    assert torch.equal(rope.cos, RotaryEmbedding(10_000.0, 8, 50).cos)
    with torch.device("meta"):
        assert RotaryEmbedding(10_000.0, 8, 50).cos.is_meta


def test_tables_are_not_saved() -> None:
    assert RotaryEmbedding(10_000.0, 8, 50).state_dict() == {}


def test_slow_pairs_are_slowed_and_fast_ones_are_not() -> None:
    # theta 10^4, 4 pairs: 1, 0.1, 0.01 and 0.001 a token; in 400 tokens 63.7, 6.37, 0.637 and 0.0637 turns.
    scaling = RopeScaling(factor=8.0, original_context_length=400, low_freq_factor=0.1, high_freq_factor=2.0)
    scaled = RotaryEmbedding(1e4, 8, 1000, scaling=scaling, dtype=torch.float64)
    between = (400 * 0.01 / (2 * math.pi) - 0.1) / 1.9
    angles = torch.tensor([1, 0.1, 0.01 * (between + (1 - between) / 8), 0.001 / 8], dtype=torch.float64)
    for position in (0, 1, 399, 999):
        torch.testing.assert_close(scaled.cos[position], (position * angles).cos(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(scaled.sin[position], (position * angles).sin(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"factor": 0.0}, ValueError, r"rope_scaling\.factor must be positive"),
        (
            {"original_context_length": 2.5},
            TypeError,
            r"rope_scaling\.original_context_length must be an int",
        ),
        ({"low_freq_factor": 4.0}, ValueError, r"high_freq_factor must be more than low_freq_factor, got 4"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_scaling_that_can_not_be_is_refused(
    changes: dict[str, float], error: type[Exception], message: str
) -> None:
    values: dict[str, Any] = {"factor": 8.0, "original_context_length": 16, **changes}
    with pytest.raises(error, match=message):
        RopeScaling(**values)
    sizes = dict.fromkeys(("vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff"), 4)
    with pytest.raises(error, match=message):
        TransformerConfig.from_fields({**sizes, "d_model": 8, "rope_scaling": values})
    with pytest.raises(TypeError, match="rope_scaling must be a RopeScaling or None, got 8"):
        TransformerConfig.from_fields({**sizes, "d_model": 8, "rope_scaling": 8})


def test_arguments_are_checked() -> None:
    with pytest.raises(
        ValueError, match="head_dim must be even for rotary positions, which rotate pairs; got 7"
    ):
        RotaryEmbedding(10_000.0, 7, 50)
    with pytest.raises(ValueError, match="rope_theta must be positive and finite, got nan"):
        RotaryEmbedding(math.nan, 8, 50)
    with pytest.raises(ValueError, match="context_length must be positive, got 0"):
        RotaryEmbedding(10_000.0, 8, 0)


@pytest.mark.parametrize("position", [-1, 50])
def test_a_position_outside_the_table_is_refused(position: int) -> None:
    rope = RotaryEmbedding(10_000.0, 8, 50)
    with pytest.raises(ValueError, match=f"positions must be from 0 to 49, got them from .*{position}"):
        rope(torch.zeros(2, 8), torch.tensor([3, position]))
