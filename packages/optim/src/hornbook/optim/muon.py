"""Muon: momentum made orthogonal for hidden matrices, AdamW for the rest."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ._checks import require_flag
from ._gradients import params_with_grads
from ._optimizer import CheckedOptimizer
from ._shards import cut_like, is_sharded, whole
from .adamw import ADAMW_STATE, update_adamw_
from .hyperparameters import check_muon_group
from .newton_schulz import orthogonalize


class Muon(CheckedOptimizer):
    """Muon of Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with AdamW.

    At the t-th gradient G of a matrix W, t counted from 1 for each matrix:

        B = mu * B + (1 - mu) * G                     (B is 0 before the first)
        O = orthogonalize(mu * B + (1 - mu) * G)      (Nesterov's look ahead)
        W = W - lr * weight_decay * W
        W = W - lr * scale * O

    `scale` makes up for the shape, in one of two ways:

        "rms"       0.2 * sqrt(max(rows, columns))    Liu et al., "Muon is scalable for LLM training" (2025)
        "spectral"  sqrt(max(1, rows / columns))      Jordan et al.

    The first gives O the size of AdamW's steps, so one rate and one decay suit all parameters. The second is
    for rates such as 0.02, about ten times AdamW's: give the groups of AdamW an `lr_scale` such as 0.1, and
    one schedule still drives all. All rates are `group["lr"] * group["lr_scale"]`.

    The momentum mu may rise, from `momentum_start` at t = 1 to `momentum` at t = `momentum_warmup_steps` + 1,
    as Jordan et al. do it in their speed runs (0.85 to 0.95 in 300 steps).

    It agrees with `torch.optim.Muon` where both multiply in one precision; the two scales are its
    `adjust_lr_fn` "match_rms_adamw" and "original". Groups with `"algorithm": "adamw"` get what `AdamW` does.
    One optimizer does both, so there is one state dict and one list of groups for a schedule to go over.

    The state of a matrix is `momentum_buffer` (B), a tensor like the matrix, and `step` (t), an int; that of
    other parameters is AdamW's. A parameter without gradient is left alone. Matrices of one shape are
    orthogonalized together, which needs two copies of them for the time of the step, and in half precision or
    on a GPU about four. A matrix in
    shards (a DTensor, as FSDP makes it) is gathered and orthogonalized by itself in every process: no more
    than one is whole at a time.

    Args:
        params: Groups (see `muon_groups`), parameters or named parameters; a group may set its own
            `algorithm` ("muon", the default, or "adamw") and all below down to `weight_decay`.
        lr: Learning rate, at least 0.
        lr_scale: Factor of it, at least 0.
        momentum: mu, from 0 up to but not including 1.
        momentum_start: mu at the first step of a warm-up; at most `momentum` is usual.
        momentum_warmup_steps: Length of the warm-up, in steps; 0 for none.
        scaling: "rms" or "spectral".
        num_newton_schulz_steps: Iterations of `orthogonalize`.
        betas: AdamW's.
        eps: AdamW's.
        weight_decay: Of both: share of a parameter that is lost per step and unit of rate, at least 0.
        dtype: What `orthogonalize` multiplies in; None for its choice by device.
        fused: Whether the AdamW part is compiled, see `AdamW`.

    Raises:
        ValueError: If a hyperparameter is out of range, or a parameter under Muon is no matrix; at a step, if
            a gradient is sparse or a parameter complex.
        TypeError: If a hyperparameter is of the wrong type.

    Example:
        >>> hidden, gain = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> groups = [{"params": [hidden]}, {"params": [gain], "algorithm": "adamw"}]
        >>> optimizer = Muon(groups, lr=0.1)
        >>> (hidden * torch.tensor([[5.0, 0.0], [0.0, -5.0]])).sum().add(gain.sum()).backward()
        >>> optimizer.step()  # the matrix by about 0.1 * 0.2 * sqrt(2) * 1.1 along each singular vector
        >>> hidden.detach().round(decimals=2), gain.detach().round(decimals=2)
        (tensor([[0.9700, 1.0000],
                [1.0000, 1.0300]]), tensor([0.9000, 0.9000]))
    """

    dtype: torch.dtype | None = None  # these two, for copies and unpickled ones: torch drops attributes
    fused: bool = False

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        lr_scale: float = 1.0,
        momentum: float = 0.95,
        momentum_start: float = 0.85,
        momentum_warmup_steps: int = 0,
        scaling: Literal["rms", "spectral"] = "rms",
        num_newton_schulz_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        dtype: torch.dtype | None = None,
        fused: bool = False,
    ) -> None:
        require_flag("fused", fused)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            msg = f"dtype must be a floating-point dtype of torch, or None, got {dtype!r}"
            raise TypeError(msg)
        defaults = {
            "algorithm": "muon",
            "lr": lr,
            "lr_scale": lr_scale,
            "momentum": momentum,
            "momentum_start": momentum_start,
            "momentum_warmup_steps": momentum_warmup_steps,
            "scaling": scaling,
            "num_newton_schulz_steps": num_newton_schulz_steps,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)
        self.dtype = dtype
        self.fused = fused

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: D102, inherited
        super().add_param_group(param_group)
        group = self.param_groups[-1]  # in torch's form: names are apart, a single parameter is in a list
        shapes = [tuple(param.shape) for param in group["params"] if param.ndim != 2]
        if group["algorithm"] == "muon" and shapes:
            self.param_groups.pop()
            msg = (
                f"Muon is for matrices, got a parameter of shape {shapes[0]}; "
                'put it in a group with "algorithm": "adamw", as muon_groups does'
            )
            raise ValueError(msg)

    def _check_group(self, group: Mapping[str, Any]) -> None:
        check_muon_group(group)

    def _state_names(self, group: Mapping[str, Any]) -> set[str]:
        return ADAMW_STATE if group["algorithm"] == "adamw" else {"step", "momentum_buffer"}

    def _update(self) -> None:
        scaled = [group | {"lr": group["lr"] * group["lr_scale"]} for group in self.param_groups]
        for group in scaled:
            if group["algorithm"] == "muon":
                self._update_matrices(group)
        others = [group for group in scaled if group["algorithm"] == "adamw"]
        self.fused = update_adamw_("Muon", others, self.state, fused=self.fused)

    def _update_matrices(self, group: Mapping[str, Any]) -> None:
        lr, weight_decay = group["lr"], group["weight_decay"]
        # Matrices of one shape are orthogonalized in one product.
        batches: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for param, grad in zip(*params_with_grads("Muon", group), strict=True):
            alone = id(param) if is_sharded(param) else None
            batches[(param.shape, param.dtype, param.device, alone)].append((param, grad))
        for (shape, *_), batch in batches.items():
            ahead = torch.stack([grad for _, grad in batch])
            for (param, grad), row in zip(batch, ahead, strict=True):
                buffer, momentum = self._next_momentum(param, group)
                buffer.lerp_(grad, 1 - momentum)
                row.lerp_(buffer, momentum)
            directions = orthogonalize(
                whole(ahead), num_steps=group["num_newton_schulz_steps"], dtype=self.dtype
            )
            for (param, _), direction in zip(batch, directions, strict=True):
                param.mul_(1 - lr * weight_decay)
                param.add_(cut_like(direction, param), alpha=-lr * _scale(group["scaling"], *shape))

    def _next_momentum(self, param: Tensor, group: Mapping[str, Any]) -> tuple[Tensor, float]:
        """The buffer of a parameter, made when its first gradient comes, and mu; the step is counted."""
        state: dict[str, Any] = self.state[param]
        if not state:
            state.update(step=0, momentum_buffer=torch.zeros_like(param))
        momentum: float = group["momentum"]
        if state["step"] < group["momentum_warmup_steps"]:
            share = state["step"] / group["momentum_warmup_steps"]
            momentum = (1 - share) * group["momentum_start"] + share * momentum
        state["step"] += 1
        return state["momentum_buffer"], momentum


def _scale(scaling: str, rows: int, columns: int) -> float:
    if scaling == "rms":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns)) if columns else 1.0
