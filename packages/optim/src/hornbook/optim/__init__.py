"""Optimizers, learning-rate schedules, groups and gradient clipping, from scratch on torch tensors."""

from .adamw import AdamW
from .clip import clip_grad_norm_
from .param_groups import decay_groups
from .schedules import Schedule, cosine_schedule, inverse_sqrt_schedule
from .sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "Schedule",
    "clip_grad_norm_",
    "cosine_schedule",
    "decay_groups",
    "inverse_sqrt_schedule",
]
