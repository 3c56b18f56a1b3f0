"""The parameters of a step, and which gradients are refused."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, strided


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
