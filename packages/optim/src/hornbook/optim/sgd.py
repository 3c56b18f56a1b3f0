"""Stochastic gradient descent, the smallest optimizer there is."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim.optimizer import ParamsT

from ._checks import params_with_grads, require_number


class SGD(torch.optim.Optimizer):
    """Step against the gradient: `p = p - lr * g`.

    No momentum, no decay, no state. The rate is read from `group["lr"]` at each step; to make it fall, set
    it from a schedule, such as `inverse_sqrt_schedule` for lr / sqrt(t + 1).

    Args:
        params: Parameters, named parameters or groups of them; a group may set its own `lr`.
        lr: Learning rate, at least 0.

    Raises:
        ValueError: If `lr` is out of range; at a step, if a gradient is sparse or a parameter complex.
        TypeError: If `lr` is not a number.

    Example:
        >>> weight = torch.tensor([3.0], requires_grad=True)
        >>> optimizer = SGD([weight], lr=0.5)
        >>> (weight**2).sum().backward()  # the gradient is 6
        >>> optimizer.step()
        >>> weight.item()
        0.0
    """

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not set, it takes from the optimizer.

        Args:
            param_group: `{"params": ..., "lr": ...}`; `lr` may be left out.

        Raises:
            ValueError: If `lr` is out of range.
            TypeError: If `lr` is not a number.
        """
        require_number("lr", param_group.get("lr", self.defaults["lr"]), least=0)
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: Computes gradients anew and returns the loss, which is returned; usually left out.

        Raises:
            ValueError: If a gradient is sparse, a parameter complex, or a group's `lr` was set out of range.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            require_number("lr", group["lr"], least=0)
            params, grads = params_with_grads("SGD", group)
            if params:
                torch._foreach_add_(params, grads, alpha=-group["lr"])
        return loss
