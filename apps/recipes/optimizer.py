"""The optimizer and its rate, as frozen values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hornbook import optim

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

OptimizerKind = Literal["adamw", "muon"]
ScheduleKind = Literal["cosine", "linear", "trapezoid", "constant"]
_NOT_HIDDEN = ("token_embeddings", "lm_head")  # their rows are tokens: they fare better with AdamW


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """What makes updates of gradients."""

    kind: Annotated[OptimizerKind, tyro.conf.arg(name="optimizer")] = "adamw"
    """adamw for all; or muon for the hidden matrices and adamw for embeddings, head and gains."""
    max_lr: float
    """Learning rate at the end of the warmup."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's: decay of the running means of the gradient and of its square."""
    eps: float = 1e-8
    """AdamW's: added to the root of the second mean."""
    weight_decay: float = 0.1
    """Of the matrices; gains are never decayed."""
    momentum: float = 0.95
    """Muon's: decay of the running mean of the gradient."""
    muon_scaling: Literal["rms", "spectral"] = "rms"
    """Muon's: rms gives its steps the size of AdamW's, so one rate suits both; spectral is for rates such as
    0.02, with --adamw-lr-scale 0.1 or so."""
    adamw_lr_scale: float = 1.0
    """With muon: rate of what AdamW updates, as a multiple of the learning rate."""
    fused_optimizer: bool = False
    """Whether AdamW is compiled into one pass over memory: pays in long runs."""

    def over(self, model: "Module") -> "Optimizer":
        """Return the optimizer of a model's parameters."""
        if self.kind == "adamw":
            groups = optim.decay_groups(model, self.weight_decay)
            return optim.AdamW(groups, self.max_lr, **self._adamw, fused=self.fused_optimizer)
        names = [name.split(".")[0] for name, _ in model.named_parameters()]
        groups = optim.muon_groups(
            model,
            self.weight_decay,
            not_hidden=[name for name in _NOT_HIDDEN if name in names],
            adamw_lr_scale=self.adamw_lr_scale,
        )
        return optim.Muon(groups, self.max_lr, **self._muon, **self._adamw, fused=self.fused_optimizer)

    def check(self) -> None:
        """Refuse impossible settings before there is a model.

        Raises:
            ValueError: Naming the value and the rule.
        """
        group = {"lr": self.max_lr, "weight_decay": self.weight_decay, **self._adamw}
        if self.kind == "adamw":
            optim.check_adamw_group(group)
            return
        optim.check_muon_group(group | self._muon)
        if not 0 <= self.adamw_lr_scale < math.inf:
            msg = f"adamw_lr_scale must be at least 0 and finite, got {self.adamw_lr_scale}"
            raise ValueError(msg)

    @property
    def _adamw(self) -> dict[str, Any]:
        return {"betas": self.betas, "eps": self.eps}

    @property
    def _muon(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "scaling": self.muon_scaling}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """How the learning rate rises and falls."""

    kind: Annotated[ScheduleKind, tyro.conf.arg(name="schedule")] = "cosine"
    """How it falls from max_lr to min_lr; a trapezoid falls in the last part, constant not at all."""
    min_lr: float
    """Learning rate at the end."""
    warmup_steps: int
    """Steps in which the rate rises from 0. In a run limited by tokens or by time, where the schedule goes by
    the share of the run that is past: the same share of the steps planned."""
    warmup_fraction: float | None = None
    """The same as a share of the run, in place of --warmup-steps."""
    decay_fraction: float = 0.2
    """Last part of a trapezoid, in which the rate falls, as a share of what comes after the warmup."""

    def shape(self) -> optim.Shape:
        """Return the way down."""
        if self.kind == "trapezoid":
            return optim.trapezoid(self.decay_fraction)
        return {"cosine": optim.cosine, "linear": optim.linear, "constant": optim.constant}[self.kind]

    def rate(self, *, max_lr: float, num_steps: int | None, by_fraction: bool) -> Callable[[Any], float]:
        """Return the learning rate of a step, or of the share of the run that is past.

        Args:
            max_lr: Of the optimizer.
            num_steps: Steps planned; None if only the clock limits them.
            by_fraction: Whether the function is asked with the share.

        Raises:
            ValueError: If the run is shorter than the warmup, or its length in steps is not known and
                `warmup_fraction` not given; else as for `lr_schedule`.
        """
        if self.warmup_fraction is not None and not 0 <= self.warmup_fraction < 1:
            msg = f"warmup_fraction must be at least 0 and less than 1, got {self.warmup_fraction}"
            raise ValueError(msg)
        end = 1.0 if by_fraction else float(num_steps or 1)
        if self.warmup_fraction is not None:
            warmup = self.warmup_fraction * end
        elif num_steps is None:
            msg = (
                "a run limited by the clock alone has no number of steps to warm up in: "
                "give --warmup-fraction, such as 0.02"
            )
            raise ValueError(msg)
        elif self.warmup_steps >= num_steps:
            msg = (
                f"warmup_steps must be less than num_steps, got {self.warmup_steps} and {num_steps}: "
                "give fewer --warmup-steps or more --num-steps"
            )
            raise ValueError(msg)
        else:
            warmup = self.warmup_steps * end / num_steps
        return optim.lr_schedule(self.shape(), max_lr=max_lr, min_lr=self.min_lr, warmup=warmup, end=end)
