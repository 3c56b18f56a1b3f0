"""Checks of arguments, shared by the config and the layers."""

import math
import sys
from typing import get_args


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
    number = _number(name, value)
    if not 0 < number < math.inf or number > sys.float_info.max:
        msg = f"{name} must be positive and finite, got {value}"
        raise ValueError(msg)


def check_not_negative(name: str, value: object) -> None:
    """Refuse anything but a finite number that is not below zero."""
    number = _number(name, value)
    if not 0 <= number < math.inf:
        msg = f"{name} must be at least 0 and finite, got {value}"
        raise ValueError(msg)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    return value


def check_choice(name: str, value: object, literal: object) -> None:
    """Refuse anything but one of the words of a `Literal`."""
    if value not in get_args(literal):
        msg = f"{name} must be one of {get_args(literal)}, got {value!r}"
        raise ValueError(msg)


def check_flag(name: str, value: object) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, got {value!r}"
        raise TypeError(msg)


def check_head_dim(d_model: int, num_heads: int, head_dim: object) -> None:
    """Refuse a width of heads that is none and, where none is given, one that they cannot share equally."""
    if head_dim is not None:
        check_positive_int("head_dim", head_dim)
    elif d_model % num_heads != 0:
        msg = f"d_model must be a multiple of num_heads, got {d_model} and {num_heads}, or give head_dim"
        raise ValueError(msg)


def check_kv_heads(num_heads: int, num_kv_heads: int) -> None:
    """Refuse heads of keys and values that the heads of queries cannot share equally."""
    check_positive_int("num_kv_heads", num_kv_heads)
    if num_heads % num_kv_heads != 0:
        msg = f"num_heads must be a multiple of num_kv_heads, got {num_heads} and {num_kv_heads}"
        raise ValueError(msg)


def check_rotary_head_dim(head_dim: int) -> None:
    """Refuse an odd width: RoPE rotates pairs."""
    if head_dim % 2 != 0:
        msg = f"head_dim must be even for rotary positions, which rotate pairs; got {head_dim}"
        raise ValueError(msg)
