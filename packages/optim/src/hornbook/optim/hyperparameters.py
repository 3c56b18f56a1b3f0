"""Which hyperparameters an optimizer can have; needs no torch, so that a command line may ask first."""

import math
from collections.abc import Mapping
from typing import Any

from ._checks import require_count, require_number

_ALGORITHMS = ("muon", "adamw")
_SCALINGS = ("rms", "spectral")


def check_adamw_group(group: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that `AdamW` can't have, as it does itself.

    Args:
        group: `lr`, `betas`, `eps` and `weight_decay` of a group of parameters.

    Raises:
        ValueError: If one is out of range.
        TypeError: If one is not a number.

    Example:
        >>> check_adamw_group({"lr": -1, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1})
        Traceback (most recent call last):
        ValueError: lr must be at least 0 and finite, got -1
    """
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


def check_muon_group(group: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that `Muon` can't have, as it does itself.

    Args:
        group: Those of `check_adamw_group`; `lr_scale`, `momentum`, `momentum_start`,
            `momentum_warmup_steps`, `num_newton_schulz_steps`, `algorithm` and `scaling`, where given.

    Raises:
        ValueError: If one is out of range, or not one of the words that may be.
        TypeError: If one is of the wrong type.
    """
    check_adamw_group(group)
    for name, below in (("lr_scale", math.inf), ("momentum", 1.0), ("momentum_start", 1.0)):
        if name in group:
            require_number(name, group[name], least=0, below=below)
    for name in ("momentum_warmup_steps", "num_newton_schulz_steps"):
        if name in group:
            require_count(name, group[name])
    for name, allowed in (("algorithm", _ALGORITHMS), ("scaling", _SCALINGS)):
        if name in group and group[name] not in allowed:
            msg = f"{name} must be one of {', '.join(allowed)}, got {group[name]!r}"
            raise ValueError(msg)
