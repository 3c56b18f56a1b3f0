"""Rotary position embedding."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from ._checks import check_positive_finite, check_positive_int, check_rotary_head_dim
from ._ids import check_ids
from .fused_rope import Turns, complex_turns, fused_rotate_pairs
from .rope_scaling import RopeScaling

Rotation: TypeAlias = Callable[[Tensor], Tensor]
"""Rotates queries or keys, (*batch, seq, head_dim), each at its own position."""


def rotate_pairs(
    x: Float[Tensor, "*batch seq head_dim"],
    cos: Float[Tensor, "... seq pairs"],
    sin: Float[Tensor, "... seq pairs"],
) -> Float[Tensor, "*batch seq head_dim"]:
    """Turn each pair (a, b) of neighbouring features to (a cos - b sin, a sin + b cos).

    Args:
        x: Pairs, in float32 at least while they are turned.
        cos: Of the angles.
        sin: Of the angles.

    Example:
        >>> rotate_pairs(torch.tensor([[3.0, 4.0]]), cos=torch.zeros(1, 1), sin=torch.ones(1, 1))
        tensor([[-4.,  3.]])
    """
    even, odd = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return rotated.flatten(-2).to(x.dtype)


class RotaryEmbedding(Module):
    """Rotate neighbouring pairs of features by an angle that grows with the position (Su et al., 2021).

    Features 2k and 2k+1, k from 0, at position p are turned by p / rope_theta^(2k / head_dim). The product of
    a rotated query and a rotated key then depends on the difference of their positions alone.

    The tables of cosines and sines are functions of the three arguments: they are no part of the state dict,
    and whenever the module is moved or cast they are computed anew, in float64, and rounded once. So they are
    right after `.to(torch.bfloat16)`, which leaves them in float32, after `.double()`, and after
    `.to_empty(device=...)` of a model that was made on the meta device. Loading with `assign=True` into a
    model on the meta device leaves the tables there: use `to_empty` first.

    Args:
        rope_theta: Base of the wavelengths.
        head_dim: Features per head; even.
        context_length: Positions in the tables: 0 to context_length - 1.
        scaling: Slows pairs down for long contexts; None: no.
        device: Where the tables are made.
        dtype: Of the tables; half precision becomes float32.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is not positive and finite, or `head_dim` is odd.

    Example:
        >>> rope = RotaryEmbedding(10_000.0, head_dim=2, context_length=4)
        >>> rope(torch.tensor([[1.0, 0.0]]), torch.tensor([3]))  # cos 3 and sin 3
        tensor([[-0.9900,  0.1411]])
    """

    cos: Float[Tensor, "context_length pairs"]
    sin: Float[Tensor, "context_length pairs"]

    def __init__(
        self,
        rope_theta: float,
        head_dim: int,
        context_length: int,
        *,
        scaling: RopeScaling | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_finite("rope_theta", rope_theta)
        check_positive_int("head_dim", head_dim)
        check_positive_int("context_length", context_length)
        check_rotary_head_dim(head_dim)
        super().__init__()
        self.rope_theta = rope_theta
        self.head_dim = head_dim
        self.context_length = context_length
        self.scaling = scaling
        self._fill_tables(device or torch.get_default_device(), dtype or torch.get_default_dtype())

    def _fill_tables(self, device: torch.device | str, dtype: torch.dtype) -> None:
        # On the CPU, as some devices lack float64; rounded before they are moved there.
        exponents = torch.arange(0, self.head_dim, 2, dtype=torch.float64, device="cpu") / self.head_dim
        positions = torch.arange(self.context_length, dtype=torch.float64, device="cpu")
        angles = self.rope_theta**-exponents  # from one position to the next
        if self.scaling is not None:
            # By Python's numbers: tensors without numbers, as a dry run has, can't be asked for theirs.
            pairs = range(0, self.head_dim, 2)
            kept = [self.scaling.slowed(self.rope_theta ** (-pair / self.head_dim)) for pair in pairs]
            angles *= torch.tensor(kept, dtype=torch.float64, device="cpu")
        angles = torch.outer(positions, angles)
        dtype = torch.promote_types(dtype, torch.float32)
        self.register_buffer("cos", angles.cos().to(dtype).to(device), persistent=False)
        self.register_buffer("sin", angles.sin().to(dtype).to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RotaryEmbedding":  # noqa: ARG002
        # What it makes of no numbers says where the tables shall be, and in which dtype. All layers share
        # this module, and it is asked once for each: only the first time is there something to do.
        wanted = fn(self.cos.new_empty(0))
        dtype = torch.promote_types(wanted.dtype, torch.float32)
        if (wanted.device, dtype) != (self.cos.device, self.cos.dtype):
            self._fill_tables(wanted.device, dtype)
        return self

    def forward(
        self, x: Float[Tensor, "*batch seq head_dim"], positions: Int[Tensor, "... seq"]
    ) -> Float[Tensor, "*batch seq head_dim"]:
        """Rotate `x`.

        Args:
            x: Queries or keys.
            positions: Place of each in the text, from 0 to context_length - 1; broadcast over the leading
                axes.

        Raises:
            ValueError: If a position is negative or too large, on the CPU.
        """
        return self.at(positions)(x)

    def at(self, positions: Int[Tensor, "... seq"]) -> Rotation:
        """Look up the angles of some positions once, to rotate many tensors by them.

        Args:
            positions: As for a call.

        Raises:
            TypeError: If the positions are not int64 or int32.
            ValueError: If a position is negative or too large, on the CPU.

        Example:
            >>> rotate = RotaryEmbedding(10_000.0, head_dim=2, context_length=4).at(torch.tensor([0]))
            >>> rotate(torch.tensor([[1.0, 0.0]]))
            tensor([[1., 0.]])
        """
        check_ids("positions", positions)
        cos, sin = self._rows(self.cos, positions), self._rows(self.sin, positions)
        turns = None if torch.compiler.is_compiling() else complex_turns(cos, sin)
        return partial(_rotate, cos=cos, sin=sin, turns=turns)

    def _rows(self, table: Tensor, positions: Tensor) -> Tensor:
        try:
            # Not table[positions]: that would take position -1 for the last.
            rows = table.index_select(0, positions.flatten())
        except IndexError:
            low, high = positions.aminmax()
            msg = f"positions must be from 0 to {self.context_length - 1}, got them from {low} to {high}"
            raise ValueError(msg) from None
        return rows.view(*positions.shape, table.shape[1])

    def extra_repr(self) -> str:
        """Show the arguments in `repr`."""
        shown = (
            f"rope_theta={self.rope_theta}, head_dim={self.head_dim}, context_length={self.context_length}"
        )
        return shown if self.scaling is None else f"{shown}, scaling={self.scaling}"


def _rotate(x: Tensor, *, cos: Tensor, sin: Tensor, turns: Turns | None) -> Tensor:
    # The compiler has no complex numbers, and needs none to make it one pass. Asked here as well as where the
    # angles are looked up: a block may be compiled by itself.
    if turns is None or torch.compiler.is_compiling():
        return rotate_pairs(x, cos, sin)
    return fused_rotate_pairs(x, turns)
