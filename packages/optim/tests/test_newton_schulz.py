import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.optim import orthogonalize
from hornbook.optim.newton_schulz import _fast_dtype

sides = st.integers(1, 12)


def by_singular_values(matrix: Tensor, num_steps: int = 5) -> Tensor:
    """The iteration in the basis where it is one polynomial for each singular value."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = s / max(math.sqrt((matrix**2).sum().item()), 1e-7)
    for _ in range(num_steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    moved: Tensor = u @ torch.diag(s) @ vh
    return moved


@settings(deadline=None)
@given(rows=sides, columns=sides, num_steps=st.integers(0, 6), seed=st.integers(0, 2**31))
def test_it_moves_each_singular_value_along_the_polynomial(
    rows: int, columns: int, num_steps: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        orthogonalize(matrix, num_steps=num_steps), by_singular_values(matrix, num_steps), rtol=0, atol=1e-10
    )


def test_all_singular_values_from_15_ten_thousandths_on_come_between_67_and_121_hundredths() -> None:
    # A diagonal matrix shows its singular values: share and the rest of a norm of 1.
    shares = torch.logspace(math.log10(0.0015), 0, 20_000, dtype=torch.float64)
    rests = (1 - shares**2).clamp(min=0).sqrt()
    values = orthogonalize(torch.diag_embed(torch.stack([shares, rests], dim=-1)))[:, 0, 0]
    assert values.min() > 0.67 and values.max() < 1.21
    assert values.min() < 0.69 and values.max() > 1.19  # so far and no farther


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.06)])
@pytest.mark.parametrize("shape", [(64, 64), (48, 96), (96, 48)])
def test_in_less_precision_it_stays_near_the_svd(
    dtype: torch.dtype, tolerance: float, shape: tuple[int, int]
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = by_singular_values(matrix.double())
    result = orthogonalize(matrix, dtype=dtype)
    assert result.dtype is dtype
    assert torch.linalg.matrix_norm(result.double() - exact, ord=2) < tolerance
    if shape[0] != shape[1]:  # a square one of normal entries has singular values near 0
        u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
        assert torch.linalg.matrix_norm(result.double() - u @ vh, ord=2) < 0.33 + tolerance


@settings(deadline=None, max_examples=30)
@given(rows=sides, columns=sides, count=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_a_batch_is_each_matrix_by_itself_and_a_transpose_the_transpose(
    rows: int, columns: int, count: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randn(count, 2, rows, columns, generator=generator, dtype=torch.float64)
    together = orthogonalize(batch)
    apart = torch.stack([orthogonalize(matrix) for matrix in batch.flatten(0, 1)]).reshape(batch.shape)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)
    torch.testing.assert_close(orthogonalize(batch.mT), together.mT, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [2.0**-80, 2.0**-20, 2.0**100])
def test_the_size_of_a_matrix_matters_only_when_it_is_next_to_nothing(
    scale: float, dtype: torch.dtype
) -> None:
    matrix = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=dtype)
    matrix[1] = -matrix[1].abs()
    exact = torch.stack([by_singular_values(one.double()) for one in scale * matrix])
    result = orthogonalize(scale * matrix, dtype=dtype).double()
    torch.testing.assert_close(result, exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())
    assert torch.equal(orthogonalize(0 * matrix), 0 * matrix)
    for shape in ((0, 3), (3, 0), (0, 2, 2)):
        assert orthogonalize(torch.empty(shape)).shape == shape


def test_one_matrix_that_is_not_finite_leaves_the_others_of_a_batch_alone() -> None:
    matrices = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    alone = orthogonalize(matrices[::2])
    matrices[1, 2, 2] = torch.nan
    result = orthogonalize(matrices)
    assert result[1].isnan().all()
    torch.testing.assert_close(result[::2], alone)


@pytest.mark.parametrize("shape", [(2, 300, 400), (400, 300), (300, 300), (128, 200), (129, 129)])
def test_products_in_strips_are_whole_products(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.stack([by_singular_values(one) for one in matrices.reshape(-1, *shape[-2:])])
    torch.testing.assert_close(orthogonalize(matrices), exact.reshape(shape), rtol=0, atol=1e-10)


def test_it_multiplies_in_bfloat16_only_where_that_is_fast() -> None:
    assert _fast_dtype("cuda", torch.float32) is torch.bfloat16
    assert _fast_dtype("mps", torch.float32) is torch.float32
    assert _fast_dtype("cuda", torch.float64) is torch.float64
    assert _fast_dtype("cpu", torch.float16) in (torch.bfloat16, torch.float32)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs matrices of \(\.\.\., rows, columns\), got shape \(3,\)"):
        orthogonalize(torch.ones(3))
    with pytest.raises(ValueError, match="num_steps must not be negative, got -1"):
        orthogonalize(torch.ones(3, 3), num_steps=-1)
