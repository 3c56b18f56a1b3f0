"""The nearest semi-orthogonal matrix, roughly, by matrix products alone."""

import functools
import math

import torch
from torch import Tensor

from ._checks import require_count

_A, _B, _C = 3.4445, -4.7750, 2.0315
_EPS = 1e-7
_STRIP = 128  # rows; of 64 to 256, the fastest for the sides of a small model


def orthogonalize(matrices: Tensor, *, num_steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """Bring all singular values near 1 and keep the singular vectors.

    For M = U S V^T this aims at U V^T, by the Newton-Schulz iteration of Jordan et al., "Muon" (2024):

        X = M / ||M||                                (Frobenius, so that no singular value exceeds 1)
        X = a X + b (X X^T) X + c (X X^T)^2 X        num_steps times, (a, b, c) = (3.4445, -4.7750, 2.0315)

    The singular vectors never change, and each singular value s goes to a s + b s^3 + c s^5. The coefficients
    are steep at 0 rather than convergent to 1: after five steps, all that began between 0.0015 and 1 lie
    between 0.67 and 1.21, which serves a step of training as well. Zeros stay zeros.

    Args:
        matrices: (..., rows, columns). Many of one shape at once are faster than one by one in bfloat16 (1.7
            times on the CPU it was measured on). In float32 and float64 a CPU takes one after the other: each
            stays in its cache.
        num_steps: How often to iterate, at least 0.
        dtype: To multiply in. By default float64 for float64, bfloat16, which is exact enough (Jordan et
            al.), on CUDA and on CPUs that have tiles for it (AMX: five times as fast), else float32.

    Returns:
        (..., rows, columns) in the dtype multiplied in.

    Raises:
        ValueError: If there are fewer than two dimensions, or `num_steps` is negative.
        TypeError: If `num_steps` is not an int.

    Example:
        >>> matrix = torch.tensor([[3.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
        >>> orthogonalize(matrix).round(decimals=1)
        tensor([[ 0.8000,  0.0000],
                [ 0.0000, -1.1000]], dtype=torch.float64)
    """
    require_count("num_steps", num_steps)
    if matrices.ndim < 2:
        msg = f"orthogonalize needs matrices of (..., rows, columns), got shape {tuple(matrices.shape)}"
        raise ValueError(msg)
    dtype = dtype or _fast_dtype(matrices.device.type, matrices.dtype)
    batch = (math.prod(matrices.shape[:-2]), *matrices.shape[-2:])
    # Without a name here, so that what an iteration has made of it takes its place in memory.
    return _iterated(_normalized(matrices).to(dtype).reshape(batch), num_steps).reshape(matrices.shape)


def _iterated(x: Tensor, num_steps: int) -> Tensor:
    if x.device.type == "cpu" and x.dtype.itemsize >= 4:
        for one in x:
            one.copy_(_iterated_by_squares(one, num_steps))
        return x
    tall = x.shape[-2] > x.shape[-1]
    for _ in range(num_steps):
        # X^T X is the smaller product for a tall matrix, and X (X^T X)^k is (X X^T)^k X.
        gram = x.mT @ x if tall else x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        x = torch.baddbmm(x, x, polynomial, beta=_A) if tall else torch.baddbmm(x, polynomial, x, beta=_A)
    return x


def _iterated_by_squares(x: Tensor, num_steps: int) -> Tensor:
    """Iterate on X X^T, the smaller and symmetric matrix, and apply to X what comes of it.

    With A = X X^T and P = a + b A + c A^2 the next X is P X, and the next A is P X X^T P = P A P. So the
    last X is the product of all P with the first X. Polynomials in A are symmetric and commute.

    For 512 x 1344 and five steps, with `_symmetric_product`, these are half of the multiplications. The price
    is that A holds squares, and float32 loses singular values below 3e-4 of the largest among them. A random
    512 x 1344 comes out as exact as otherwise (1e-5), a matrix with values from 1e-9 on with an error of
    0.002 in place of 1e-5, where bfloat16 has 0.03. In bfloat16 this form would have 0.8.
    """
    tall = x.shape[0] > x.shape[1]
    gram = _symmetric_product(x.mT, x) if tall else _symmetric_product(x, x.mT)
    total = None
    for step in range(num_steps):
        polynomial = _symmetric_product(gram, gram).mul_(_C).add_(gram, alpha=_B)
        polynomial.diagonal().add_(_A)
        total = polynomial if total is None else _symmetric_product(polynomial, total)
        if step < num_steps - 1:
            gram = _symmetric_product(_symmetric_product(polynomial, gram), polynomial)
    if total is None:
        return x
    return x @ total if tall else total @ x


def _symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply two matrices whose product is known to be symmetric.

    In strips of rows, each from the diagonal on, and below it a copy: with four strips 10 sixteenths of the
    product.
    """
    size = len(left)
    product = left.new_empty(size, size)
    for begin in range(0, size, _STRIP):
        rows, rest, below = slice(begin, begin + _STRIP), slice(begin, None), slice(begin + _STRIP, None)
        torch.mm(left[rows], right[:, rest], out=product[rows, rest])
        product[below, rows] = product[rows, below].mT
    return product


def _normalized(matrices: Tensor) -> Tensor:
    """Divide by the norm, or by `_EPS` where it is less, in float32 at least."""
    wide = torch.promote_types(matrices.dtype, torch.float32)
    if matrices.numel() == 0:
        return matrices.to(wide)
    # By the largest entry first, so that squares neither overflow nor vanish. The norm is at least 1 then; if
    # it isn't, the largest was below _EPS, and to have been divided by _EPS was right.
    highest, lowest = (bound(dim=(-2, -1), keepdim=True).to(wide) for bound in (matrices.amax, matrices.amin))
    x = matrices / torch.maximum(highest, -lowest).clamp_(min=_EPS)
    return x.div_(torch.linalg.matrix_norm(x, keepdim=True).clamp_(min=1))


@functools.cache
def _fast_dtype(device: str, dtype: torch.dtype) -> torch.dtype:
    if dtype == torch.float64:
        return dtype
    # An older torch does not tell what a CPU can do; float32 is right on any.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if device == "cuda" or (device == "cpu" and capabilities.get("amx_bf16")):
        return torch.bfloat16
    return torch.float32
