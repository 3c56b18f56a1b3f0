import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from hornbook.optim import clip_grad_norm_
from hornbook.optim.clip import _norms_of_rows, _norms_of_tensors, _widest

shapes = st.lists(st.sampled_from([(), (1,), (7,), (3, 4), (2, 3, 4), (0, 2)]), min_size=1, max_size=5)


def with_grad(grad: Tensor) -> Parameter:
    param = Parameter(torch.zeros_like(grad))
    param.grad = grad.clone()
    return param


def grads_of(params: list[Parameter]) -> list[Tensor]:
    return [param.grad for param in params if param.grad is not None]


@settings(deadline=None)
@given(shapes=shapes, seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-3, 1e3))
def test_it_agrees_with_torch(
    shapes: list[tuple[int, ...]], seed: int, scale: float, max_norm: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    grads = [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    ours, theirs = [with_grad(grad) for grad in grads], [with_grad(grad) for grad in grads]
    norm = clip_grad_norm_(ours, max_norm)
    their_norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(norm, their_norm, rtol=1e-12, atol=0)
    for our_grad, their_grad in zip(grads_of(ours), grads_of(theirs), strict=True):
        # torch scales already within 1e-6 below the bound, the definition does not.
        torch.testing.assert_close(our_grad, their_grad, rtol=1e-12 if norm > max_norm else 1e-3, atol=0)


@settings(deadline=None)
@given(shapes=shapes, seed=st.integers(0, 2**31), max_norm=st.floats(1e-2, 1e2))
def test_afterwards_the_norm_is_within_the_bound_and_the_direction_kept(
    shapes: list[tuple[int, ...]], seed: int, max_norm: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    params = [with_grad(grad) for grad in grads]
    before = clip_grad_norm_(params, max_norm)
    after = torch.cat([grad.flatten() for grad in grads_of(params)]).norm()
    factor = max_norm / (before + 1e-6) if before > max_norm else 1.0
    torch.testing.assert_close(after, before * factor, rtol=1e-12, atol=0)
    assert after <= max_norm
    for grad, clipped in zip(grads, grads_of(params), strict=True):
        torch.testing.assert_close(clipped, grad * factor, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_gradients_within_the_bound_keep_their_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    params = [with_grad(torch.randn(8, 4).to(dtype)), with_grad(torch.randn(9).to(dtype))]
    before = [grad.clone() for grad in grads_of(params)]
    norm = clip_grad_norm_(params, math.inf)
    # The bound itself is within the bound, and so is all above it.
    for max_norm in (norm.item(), 2 * norm.item(), math.inf):
        assert clip_grad_norm_(params, max_norm) == norm
        assert all(torch.equal(grad, same) for grad, same in zip(grads_of(params), before, strict=True))
    clip_grad_norm_(params, 0.9 * norm.item())
    assert not any(torch.equal(grad, same) for grad, same in zip(grads_of(params), before, strict=True))


def test_a_right_triangle_by_hand() -> None:
    legs = [with_grad(torch.tensor([[3.0]])), with_grad(torch.tensor(4.0)), Parameter(torch.ones(2))]
    assert clip_grad_norm_(iter(legs), 2.5).item() == 5.0
    assert [grad.item() for grad in grads_of(legs)] == pytest.approx([1.5, 2.0], rel=1e-6)
    assert legs[2].grad is None


def test_the_norm_of_many_equal_entries_is_exact_to_float32() -> None:
    # torch's float32 norm of this tensor is 0.4 % off on a CPU.
    param = with_grad(torch.full((10_000, 512), 0.1))
    assert clip_grad_norm_([param], 1.0).item() == pytest.approx(0.1 * math.sqrt(5_120_000), rel=1e-6)


def test_the_norm_of_half_precision_does_not_overflow() -> None:
    param = with_grad(torch.full((4,), 6e4, dtype=torch.float16))
    norm = clip_grad_norm_([param], 1.0)
    assert norm.dtype == torch.float32
    assert norm.item() == pytest.approx(12e4, rel=1e-3)
    assert grads_of([param])[0].tolist() == pytest.approx([0.5] * 4, rel=1e-3)


def test_a_norm_that_is_not_finite_is_returned_for_the_caller_to_refuse() -> None:
    params = [with_grad(torch.tensor([1.0, math.nan])), with_grad(torch.tensor([2.0]))]
    assert clip_grad_norm_(params, 1.0).isnan()
    assert grads_of(params)[0][0].item() == 1.0 and grads_of(params)[1].item() == 2.0

    params = [with_grad(torch.tensor([1.0, math.inf])), with_grad(torch.tensor([2.0]))]
    assert clip_grad_norm_(params, 1.0).isinf()
    assert grads_of(params)[0][1].isnan()
    assert grads_of(params)[0][0].item() == 0.0 and grads_of(params)[1].item() == 0.0


def test_a_single_parameter_is_not_taken_for_its_rows() -> None:
    param = with_grad(torch.tensor([3.0, 4.0]))
    assert clip_grad_norm_(param, 1.0).item() == 5.0


def test_no_gradient_at_all_has_norm_0() -> None:
    assert clip_grad_norm_([Parameter(torch.ones(2))], 1.0).item() == 0.0


def test_on_a_device_no_value_is_ever_asked_for() -> None:
    # A meta tensor has no values: .item(), bool() and a branch on them would raise.
    param = Parameter(torch.ones(3, 2, device="meta"))
    param.grad = torch.ones(3, 2, device="meta")
    assert clip_grad_norm_([param], 1.0).is_meta


def test_wrong_arguments_are_refused() -> None:
    param = with_grad(torch.ones(2))
    for max_norm in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"max_norm must be more than 0 and finite, got {max_norm}"):
            clip_grad_norm_([param], max_norm)
    with pytest.raises(TypeError, match="max_norm must be a number, got '1' of type str"):
        clip_grad_norm_([param], "1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there are no parameters to clip"):
        clip_grad_norm_([], 1.0)
    param = Parameter(torch.ones(3, 2))
    param.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(ValueError, match=r"clip_grad_norm_ needs dense gradients, got torch\.sparse_coo"):
        clip_grad_norm_([param], 1.0)


def test_no_float64_is_asked_of_a_device_that_has_none() -> None:
    assert _widest(torch.device("mps"), torch.float32) is torch.float32
    assert _widest(torch.device("cpu"), torch.float32) is torch.float64


def test_the_parts_that_a_gpu_takes_have_the_same_norm_as_those_of_a_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    grads = [
        torch.randn(5, 4, generator=generator).to(torch.float16),
        torch.full((3,), 6e4, dtype=torch.float16),  # the squares overflow
        torch.randn((), generator=generator).to(torch.bfloat16),
        torch.empty(0, 2),
    ]
    by_rows, by_tensors = _norms_of_rows(grads), _norms_of_tensors(grads)
    assert by_rows.dtype == by_tensors.dtype == torch.float32
    torch.testing.assert_close(by_rows.norm(), by_tensors.norm(), rtol=1e-6, atol=0)
