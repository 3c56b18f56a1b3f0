"""AdamW: Adam with weight decay that does not pass through the gradient."""

import math
from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ._checks import params_with_grads, require_number


class AdamW(torch.optim.Optimizer):
    """AdamW, algorithm 2 of Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (2019).

    At the t-th gradient g of a parameter p, t counted from 1 for each parameter:

        p = p - lr * weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - lr_t * m / (sqrt(v) + eps_t)

        with  lr_t = lr * sqrt(1 - beta2**t) / (1 - beta1**t)  and  eps_t = eps * sqrt(1 - beta2**t)

    which is `lr * m_hat / (sqrt(v_hat) + eps)` with the corrected moments of the paper, at one pass over
    memory less. It is also what `torch.optim.AdamW` computes. Stanford CS336, assignment 1 (2025) prints
    the last line with `eps` for `eps_t` and decays after it: the same but for `lr**2 * weight_decay` a step
    and gradients as small as `eps`.

    The rate is read from `group["lr"]` at each step, so a schedule sets it there. A parameter without
    gradient is left alone, decay included, and its t stands still. All else runs as one `torch._foreach_*`
    call per line and group; the root in the last line needs one temporary copy of a group's parameters.

    The state of a parameter is `exp_avg` (m) and `exp_avg_sq` (v), tensors like the parameter, and `step`
    (t), an int: a GPU is never asked for it, JSON holds it, and it does not stop growing at 2**24 as a
    float32 would. With groups, it goes through `state_dict` and `load_state_dict` bit for bit; as with
    every torch optimizer, these share tensors with the live one unless copied.

    Args:
        params: Parameters, named parameters or groups of them; a group may set its own `lr`, `betas`, `eps`
            and `weight_decay` (see `decay_groups`).
        lr: Learning rate, at least 0.
        betas: Decay rates of m and v, from 0 up to but not including 1; torch's defaults. Language models are
            commonly trained with (0.9, 0.95).
        eps: Keeps the division finite, more than 0; torch's default.
        weight_decay: Share of a parameter that is lost per step and unit of `lr`, at least 0; torch's
            default.

    Raises:
        ValueError: If a hyperparameter is out of range; at a step, if a gradient is sparse or a parameter
            complex.
        TypeError: If a hyperparameter is not a number.

    Example:
        >>> weight = torch.tensor([2.0], requires_grad=True)
        >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
        >>> (3 * weight).sum().backward()
        >>> optimizer.step()  # 2 - 0.1 * 0.5 * 2 = 1.9; the first step is lr long, whatever the gradient
        >>> round(weight.item(), 6)
        1.8
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not set, it takes from the optimizer.

        Args:
            param_group: `{"params": ...}` with any of `lr`, `betas`, `eps` and `weight_decay`.

        Raises:
            ValueError: If a hyperparameter is out of range.
            TypeError: If a hyperparameter is not a number.
        """
        _check_hyperparameters(self.defaults | param_group)
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
            ValueError: If a gradient is sparse, a parameter complex, or a group's hyperparameter out of
                range.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            _check_hyperparameters(group)  # a schedule may have set them since
            params, grads = params_with_grads("AdamW", group)
            if params:
                self._update(params, grads, group)
        return loss

    def _update(self, params: list[Tensor], grads: list[Tensor], group: Mapping[str, Any]) -> None:
        lr, (beta1, beta2), eps, weight_decay = (group[key] for key in ("lr", "betas", "eps", "weight_decay"))
        states = [self._next_state(param) for param in params]
        exp_avgs = [state["exp_avg"] for state in states]
        exp_avg_sqs = [state["exp_avg_sq"] for state in states]
        # One scalar per tensor: parameters that once had no gradient are at an earlier step than their group.
        corrections = [math.sqrt(1 - beta2 ** state["step"]) for state in states]
        rates = [
            lr * correction / (1 - beta1 ** state["step"])
            for correction, state in zip(corrections, states, strict=True)
        ]

        torch._foreach_mul_(params, 1 - lr * weight_decay)
        torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
        torch._foreach_mul_(exp_avg_sqs, beta2)
        torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)
        denominators = torch._foreach_sqrt(exp_avg_sqs)
        torch._foreach_add_(denominators, [eps * correction for correction in corrections])
        torch._foreach_addcdiv_(params, exp_avgs, denominators, [-rate for rate in rates])

    def _next_state(self, param: Tensor) -> dict[str, Any]:
        """The state of a parameter, made when its first gradient comes, with the step counted."""
        state: dict[str, Any] = self.state[param]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param))
        state["step"] += 1
        return state


def _check_hyperparameters(group: Mapping[str, Any]) -> None:
    require_number("lr", group["lr"], least=0)
    betas = group["betas"]
    # A list is what JSON makes of a tuple.
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        msg = f"betas must be two numbers, got {betas!r}"
        raise TypeError(msg)
    for index, beta in enumerate(betas):
        require_number(f"betas[{index}]", beta, least=0, below=1)
    require_number("eps", group["eps"], above=0)
    require_number("weight_decay", group["weight_decay"], least=0)
