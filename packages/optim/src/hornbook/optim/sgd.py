"""Stochastic gradient descent, the smallest optimizer there is."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from ._checks import require_number
from ._gradients import params_with_grads
from ._optimizer import CheckedOptimizer


class SGD(CheckedOptimizer):
    """Step against the gradient, `p = p - lr * g`, or against a sum of it and those before.

    With momentum (Polyak, 1964, in the form of Sutskever et al., 2013, with the rate outside the sum), at
    each gradient g of a parameter p:

        b = momentum * b + g    (b is 0 before the first)
        p = p - lr * b

    No decay; without momentum, no state. The state with it is `momentum_buffer` (b), a tensor like the
    parameter. The rate is read from `group["lr"]` at each step; to make it fall, set it from a schedule,
    such as `inverse_sqrt_schedule` for lr / sqrt(t + 1). A parameter without gradient is left alone.

    Args:
        params: Parameters, named parameters or groups of them; a group may set its own `lr` and `momentum`.
        lr: Learning rate, at least 0.
        momentum: Share of the sum that is kept, from 0 up to but not including 1.

    Raises:
        ValueError: If a hyperparameter is out of range; at a step, if a gradient is sparse or a parameter
            complex.
        TypeError: If a hyperparameter is not a number.

    Example:
        >>> weight = torch.tensor([3.0], requires_grad=True)
        >>> optimizer = SGD([weight], lr=0.5)
        >>> (weight**2).sum().backward()  # the gradient is 6
        >>> optimizer.step()
        >>> weight.item()
        0.0
    """

    def __init__(self, params: ParamsT, lr: float, *, momentum: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def _check_group(self, group: Mapping[str, Any]) -> None:
        require_number("lr", group["lr"], least=0)
        require_number("momentum", group["momentum"], least=0, below=1)

    def _state_names(self, group: Mapping[str, Any]) -> set[str]:  # noqa: ARG002
        return {"momentum_buffer"}

    def _update(self) -> None:
        for group in self.param_groups:
            params, grads = params_with_grads("SGD", group)
            if not params:
                continue
            directions = grads
            if group["momentum"] > 0:
                for param in params:
                    if not self.state[param]:
                        self.state[param]["momentum_buffer"] = torch.zeros_like(param)
                directions = [self.state[param]["momentum_buffer"] for param in params]
                torch._foreach_mul_(directions, group["momentum"])
                torch._foreach_add_(directions, grads)
            torch._foreach_add_(params, directions, alpha=-group["lr"])
