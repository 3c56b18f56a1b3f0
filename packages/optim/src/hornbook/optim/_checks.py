"""What every part of the package refuses, said once."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import Tensor, strided


def require_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float = math.inf,
) -> None:
    """Refuse all but a real number that is at least `least`, more than `above` and less than `below`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name} must be a number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    number = float(value)
    # Written so that NaN, for which every comparison is false, is refused.
    fits = (least is None or number >= least) and (above is None or number > above) and number < below
    if not fits:
        lower = f"more than {above:g}" if least is None else f"at least {least:g}"
        upper = "finite" if below == math.inf else f"less than {below:g}"
        msg = f"{name} must be {lower} and {upper}, got {value}"
        raise ValueError(msg)


def require_count(name: str, value: object) -> None:
    """Refuse all but an int that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    if value < 0:
        msg = f"{name} must not be negative, got {value}"
        raise ValueError(msg)


def require_flag(name: str, value: object) -> None:
    """Refuse all but True and False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, got {value!r}"
        raise TypeError(msg)


def params_with_grads(optimizer: str, group: Mapping[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """A group's parameters with gradient, and these gradients; sparse and complex ones are refused."""
    params: list[Tensor] = [param for param in group["params"] if param.grad is not None]
    grads: list[Tensor] = [param.grad for param in params if param.grad is not None]
    for param, grad in zip(params, grads, strict=True):
        if grad.layout is not strided:
            msg = (
                f"{optimizer} needs dense gradients, got {grad.layout} for a parameter of shape "
                f"{tuple(param.shape)}; an embedding gives dense ones with sparse=False"
            )
            raise ValueError(msg)
        if not param.is_floating_point():
            msg = (
                f"{optimizer} needs real floating-point parameters, got {param.dtype} for one of shape "
                f"{tuple(param.shape)}; torch.view_as_real makes a complex one real"
            )
            raise ValueError(msg)
    return params, grads
