"""What the layers compute, as functions without state.

Sums over many terms run in float32 at least: bfloat16 keeps 8 bits, and a sum of hundreds of terms in it
loses the small ones. float64 stays float64.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Widen half precision to float32; leave float32 and float64 alone, without a copy."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute x * sigmoid(x) (Elfwing et al., 2017).

    Args:
        x: Any shape.

    Example:
        >>> silu(torch.tensor([-20.0, 0.0, 20.0])).round(decimals=3)
        tensor([-0.,  0., 20.])
    """
    return x * torch.sigmoid(x)


def gated_silu(gate: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute silu(gate) * x, the gate of SwiGLU (Shazeer, 2020).

    Args:
        gate: What goes through SiLU.
        x: What is multiplied by it.

    Example:
        >>> gated_silu(torch.tensor([-20.0, 0.0, 20.0]), torch.full((3,), 2.0)).round(decimals=3)
        tensor([-0.,  0., 40.])
    """
    return silu(gate) * x


def squared_relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute max(x, 0)^2 (So et al., "Primer", 2021).

    Args:
        x: Any shape.

    Example:
        >>> squared_relu(torch.tensor([-2.0, 3.0]))
        tensor([0., 9.])
    """
    return x.clamp(min=0).square()


def linears(
    x: Float[Tensor, "*batch d_in"], weights: Sequence[Float[Tensor, "_ d_in"]]
) -> tuple[Float[Tensor, "*batch _"], ...]:
    """Compute W x for several matrices W.

    Args:
        x: Any leading axes.
        weights: Each (out, in).

    Example:
        >>> linears(torch.tensor([1.0, 2.0]), [torch.tensor([[3.0, 4.0]]), torch.eye(2)])
        (tensor([11.]), tensor([1., 2.]))
    """
    return tuple(x @ weight.T for weight in weights)


def softcap(x: Float[Tensor, "*shape"], cap: float) -> Float[Tensor, "*shape"]:
    """Compute cap * tanh(x / cap): nearly x where x is small, never beyond `cap` (Gemma 2, 2024).

    Args:
        x: Any shape.
        cap: Bound, positive.

    Example:
        >>> softcap(torch.tensor([-1000.0, 1.0, 1000.0]), cap=30.0).round(decimals=3)
        tensor([-30.,   1.,  30.])
    """
    return cap * torch.tanh(x / cap)


def _shifted_exps(
    x: Float[Tensor, "*shape"], dim: int
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "..."]]:
    """Return exp(x - max(x)) and its sum along `dim`, whose quotient is the softmax."""
    # Any shift cancels in the quotient; this one keeps exp from overflowing, and as it cancels it needs no
    # gradient. The clamp keeps -inf - (-inf) = NaN away from a slice of nothing but -inf.
    shift = x.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(x.dtype).min)
    exps = (x - shift).exp_()
    # The largest term is exp(0) = 1, so only a slice of nothing but -inf sums to less than 1/2. A bound of 1
    # would be met by a slice with one finite entry, and at its bound clamp passes no gradient.
    return exps, exps.sum(dim, keepdim=True).clamp(min=0.5)


def softmax(x: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """Compute exp(x_i) / sum_j exp(x_j) along `dim`, in float32 at least, returned in the dtype of `x`.

    A slice that is -inf throughout, such as the scores of a query that may attend to nothing, gives zeros
    and passes no gradient, where the formula would divide 0 by 0.

    Args:
        x: Any shape; entries may be -inf.
        dim: Axis along which the result sums to one.

    Example:
        >>> softmax(torch.tensor([0.0, 0.0, -torch.inf]), dim=0)
        tensor([0.5000, 0.5000, 0.0000])
    """
    exps, total = _shifted_exps(at_least_float32(x), dim)
    return (exps / total).to(x.dtype)


def scaled_dot_product_attention(
    query: Float[Tensor, "*#batch queries d_k"],
    key: Float[Tensor, "*#batch keys d_k"],
    value: Float[Tensor, "*#batch keys d_v"],
    mask: Bool[Tensor, "... queries keys"] | None = None,
) -> Float[Tensor, "*#batch queries d_v"]:
    """Compute softmax(Q K^T / sqrt(d_k)) V (Vaswani et al., 2017, equation 1).

    Args:
        query: Any leading axes.
        key: The same leading axes, or axes that broadcast to them.
        value: As `key`.
        mask: True where a query may attend to a key; broadcast over the leading axes. A query that may attend
            to nothing gets zeros and passes no gradient, as in torch's own attention.

    Example:
        >>> values = torch.tensor([[2.0], [4.0], [9.0]])
        >>> mask = torch.ones(3, 3, dtype=torch.bool).tril()
        >>> scaled_dot_product_attention(torch.zeros(3, 2), torch.zeros(3, 2), values, mask)
        tensor([[2.],
                [3.],
                [5.]])
    """
    # The scale goes to the queries, which are smaller than the scores.
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
    if mask is not None:
        # Adding -inf costs the backward pass nothing; filling the scores would fill their gradient as well.
        scores += torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -math.inf)
    # softmax(scores) @ value with the division last: the sums are as many as the queries, so d_v numbers per
    # query are divided in place of one per key, forward and backward.
    exps, total = _shifted_exps(at_least_float32(scores), dim=-1)
    return (exps.to(value.dtype) @ value / total).to(value.dtype)
