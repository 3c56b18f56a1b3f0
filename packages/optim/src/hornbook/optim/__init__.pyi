"""The public names, and where each is; `__init__.py` reads it, and type checkers."""

from .adamw import AdamW
from .clip import clip_grad_norm_
from .hyperparameters import check_adamw_group, check_muon_group
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
    "check_adamw_group",
    "check_muon_group",
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
