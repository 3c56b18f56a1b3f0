"""Initial values of parameters."""

import math

import torch
from torch import Tensor


def truncated_normal(
    *shape: int, std: float, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Draw from N(0, std^2), cut at three standard deviations, with torch's global generator.

    The values are std * Phi^-1(u) with u uniform between Phi(-3) and Phi(3): no draw is thrown away, so the
    state of the generator afterwards depends on the shape alone. The cut leaves a standard deviation of
    0.98658 std.

    Args:
        shape: Sizes of the result.
        std: Standard deviation before the cut.
        device: Where the tensor is made; None is torch's default device.
        dtype: None is torch's default dtype. Half precision is rounded from draws in float32, so that one
            seed gives one model.
    """
    dtype = dtype or torch.get_default_dtype()
    bound = math.erf(3 / math.sqrt(2))  # 2 Phi(3) - 1
    draws = torch.empty(*shape, device=device, dtype=torch.promote_types(dtype, torch.float32))
    draws.uniform_(-bound, bound).erfinv_().mul_(std * math.sqrt(2))
    # uniform_ may round up to its bound and erfinv_ beyond three: the cut is a promise.
    return draws.clamp_(-3 * std, 3 * std).to(dtype)
