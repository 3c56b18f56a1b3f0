"""The linear map, without a bias."""

import math
from collections.abc import Sequence
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.modules.module import _has_any_global_hook

from ._checks import check_positive_int
from .fused_linear import fused_linears
from .init import truncated_normal


class Linear(Module):
    """Map x to W x, with W stored as (out, in).

    Initial values: N(0, 2 / (in + out)), cut at three standard deviations, from torch's global generator
    (Glorot and Bengio, 2010).

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        device: Where the weight is made.
        dtype: Of the weight.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive.

    Example:
        >>> Linear(3, 5)(torch.zeros(2, 7, 3)).shape
        torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_int("in_features", in_features)
        check_positive_int("out_features", out_features)
        super().__init__()
        std = math.sqrt(2 / (in_features + out_features))
        self.weight = Parameter(
            truncated_normal(out_features, in_features, std=std, device=device, dtype=dtype)
        )

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Map the last axis."""
        return x @ self.weight.T

    def extra_repr(self) -> str:
        """Show the sizes in `repr`."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"


def project(
    x: Float[Tensor, "*batch d_in"], layers: Sequence[Module]
) -> tuple[Float[Tensor, "*batch _"], ...]:
    """Call several linear layers with one input: in one operation, unless a call may do more than multiply.

    Args:
        x: Their input.
        layers: Some; usually `Linear`.

    Example:
        >>> one, two = project(torch.ones(2, 3), [Linear(3, 1), Linear(3, 4)])
        >>> one.shape, two.shape
        (torch.Size([2, 1]), torch.Size([2, 4]))
    """
    one_by_one = torch.compiler.is_compiling() or _has_any_global_hook()  # type: ignore[no-untyped-call]
    plain = [] if one_by_one else [layer for layer in layers if only_multiplies(layer)]
    if len(plain) < len(layers):
        return tuple(layer(x) for layer in layers)
    return fused_linears(x, [layer.weight for layer in plain])


def only_multiplies(layer: Module) -> TypeGuard[Linear]:
    """Tell whether a call of this layer is `x @ layer.weight.T` and nothing else.

    It isn't where another module has taken the layer's place (a LoRA adapter; one that is parametrized or
    sharded by itself has another class, too), where a hook watches or changes it, and where `forward` was
    replaced.

    Args:
        layer: A module that may be a `Linear`.

    Example:
        >>> only_multiplies(Linear(3, 5)), only_multiplies(torch.nn.Linear(3, 5))
        (True, False)
    """
    return type(layer) is Linear and not (
        layer._forward_pre_hooks
        or layer._forward_hooks
        or layer._backward_pre_hooks
        or layer._backward_hooks
        or layer._compiled_call_impl is not None
        or "forward" in layer.__dict__
    )
