"""Clipping gradients by their global norm."""

import functools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ._checks import require_number
from ._shards import all_local, is_sharded, sum_over_shards

_EPS = 1e-6


@torch.no_grad()
def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients by one factor so that their joint l2 norm does not exceed `max_norm`.

        factor = max_norm / (norm + 1e-6) if norm > max_norm else 1

    Pascanu et al., "On the difficulty of training recurrent neural networks" (2013). Gradients within the
    bound are multiplied by exactly 1: their bits do not change. The device is never asked for a value; the
    norm comes back as a tensor, to be read when there is time.

    A norm that is not finite means that the step is lost, and the caller can refuse it: `if not
    norm.isfinite(): skip`. Nothing is mended here. NaN in a gradient: the norm is NaN and no gradient is
    changed. Infinity, or finite values so large that the norm overflows: the norm is infinite, finite
    gradients become 0 and infinite ones NaN.

    Gradients in shards, as FSDP leaves them (DTensors), count as whole: each process calls this, and all get
    the same norm from one exchange of a number.

    Args:
        parameters: Parameters whose gradients, on one device, are scaled in place. Those without gradient
            are passed over.
        max_norm: Bound on the norm, more than 0; `math.inf` measures and clips nothing.

    Returns:
        The norm before clipping: 0-d, float32 (float64 if a gradient is), on the gradients' device; 0 if
        there is no gradient.

    Raises:
        ValueError: If `max_norm` is out of range, there are no parameters, or a gradient is sparse.
        TypeError: If `max_norm` is not a number.

    Example:
        >>> weight = torch.zeros(2, requires_grad=True)
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_grad_norm_([weight], max_norm=1.0)
        tensor(5.)
        >>> weight.grad
        tensor([0.6000, 0.8000])
    """
    if max_norm != math.inf:
        require_number("max_norm", max_norm, above=0)
    # Iterating over a tensor would give its rows, which have no gradient.
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not params:
        msg = "there are no parameters to clip; was a generator of parameters used twice?"
        raise ValueError(msg)
    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return torch.zeros((), device=params[0].device)
    for grad in grads:
        if grad.layout is not torch.strided:
            msg = f"clip_grad_norm_ needs dense gradients, got {grad.layout}"
            raise ValueError(msg)
    norm = _global_norm(grads)
    factor = torch.where(norm > max_norm, max_norm / (norm + _EPS), torch.ones_like(norm))
    torch._foreach_mul_(all_local(grads), factor)
    return norm


def _global_norm(grads: list[Tensor]) -> Tensor:
    # Gradients that are cut in one way need one exchange.
    groups: dict[object, list[Tensor]] = {}
    for grad in grads:
        cut = (grad.device_mesh, grad.placements) if is_sharded(grad) else None  # type: ignore[attr-defined]
        groups.setdefault(cut, []).append(grad)
    if groups.keys() == {None}:
        return _norm_here(grads)
    squares = [sum_over_shards(_norm_here(group).double().square(), group[0]) for group in groups.values()]
    dtype = functools.reduce(torch.promote_types, {grad.dtype for grad in grads}, torch.float32)
    return torch.stack(squares).sum().sqrt().to(dtype)


def _norm_here(grads: list[Tensor]) -> Tensor:
    # First the norms of parts, in float32 at least, then the norm of these in float64.
    grads = all_local(grads)
    joint = _norms_of_rows(grads) if grads[0].device.type == "cpu" else _norms_of_tensors(grads)
    norm: Tensor = torch.linalg.vector_norm(joint, dtype=_widest(joint.device, joint.dtype))
    return norm.to(joint.dtype)


def _norms_of_rows(grads: list[Tensor]) -> Tensor:
    # For CPUs, where torch sums the squares of a whole tensor in float32 lane by lane: for 10,000 x 512 equal
    # entries its norm is 0.4 % off, for 50,257 x 1,600 2 %. Row by row it is 3e-7, and takes the same time
    # (float64 throughout takes 10 to 25 times).
    return torch.cat(
        [torch.linalg.vector_norm(grad, dim=-1, dtype=_at_least_float32(grad)).flatten() for grad in grads]
    )


def _norms_of_tensors(grads: list[Tensor]) -> Tensor:
    # For GPUs, which sum squares as a tree; one launch serves many tensors.
    dtype = functools.reduce(torch.promote_types, {grad.dtype for grad in grads}, torch.float32)
    return torch.stack(torch._foreach_norm(grads, 2, dtype))


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _widest(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """float64 where the device has it; Apple's MPS does not."""
    return dtype if device.type == "mps" else torch.float64
