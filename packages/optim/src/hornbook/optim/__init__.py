"""Optimizers, learning-rate schedules, groups and gradient clipping, from scratch on torch tensors."""

from .adamw import AdamW
from .clip import clip_grad_norm_
from .muon import Muon
from .newton_schulz import orthogonalize
from .param_groups import decay_groups, describe_groups, muon_groups
from .schedules import (
    Schedule,
    Shape,
    constant,
    cosine,
    cosine_schedule,
    inverse_sqrt_schedule,
    linear,
    lr_schedule,
    trapezoid,
)
from .sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "Muon",
    "Schedule",
    "Shape",
    "clip_grad_norm_",
    "constant",
    "cosine",
    "cosine_schedule",
    "decay_groups",
    "describe_groups",
    "inverse_sqrt_schedule",
    "linear",
    "lr_schedule",
    "muon_groups",
    "orthogonalize",
    "trapezoid",
]
