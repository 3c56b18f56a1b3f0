"""Checks of arguments, shared by the config and the layers."""

import math


def check_positive_int(name: str, value: object) -> None:
    """Refuse anything but an int above zero; True and 4.0 are mistakes, not sizes."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    if value <= 0:
        msg = f"{name} must be positive, got {value}"
        raise ValueError(msg)


def check_positive_finite(name: str, value: object) -> None:
    """Refuse anything but a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    if not (math.isfinite(value) and value > 0):
        msg = f"{name} must be positive and finite, got {value}"
        raise ValueError(msg)


def check_heads(d_model: int, num_heads: int) -> None:
    """Refuse a width that the heads cannot share equally."""
    if d_model % num_heads != 0:
        msg = f"d_model must be a multiple of num_heads, got {d_model} and {num_heads}"
        raise ValueError(msg)


def check_rotary_head_dim(head_dim: int) -> None:
    """Refuse an odd width: RoPE rotates pairs."""
    if head_dim % 2 != 0:
        msg = f"head_dim must be even for rotary positions, which rotate pairs; got {head_dim}"
        raise ValueError(msg)
