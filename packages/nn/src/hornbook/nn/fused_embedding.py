"""The rows of a table, with a gradient that is made once, for where no compiler is.

With y_i the row of id t_i, and g_i its gradient:

    dtable_v = sum over i with t_i = v of g_i

torch's derivative of `index_select` adds to a copy of a table of zeros; torch's kernel for this sum makes one
table. Under `torch.use_deterministic_algorithms` it sorts the ids on a GPU: the bits are the same each time,
in a third of the time that `index_add` takes for that (0.38 ms in place of 1.31, 64 x 256 ids, H100).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ._first_order import first_order


def rows_of(table: Float[Tensor, "rows width"], ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
    """Look up rows.

    Args:
        table: One row an id.
        ids: From 0; on the CPU others are an IndexError.
    """
    # Not table[ids]: that would take id -1 for the last row.
    return table.index_select(0, ids.flatten()).view(*ids.shape, table.shape[1])


def fused_rows_of(
    table: Float[Tensor, "rows width"], ids: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch width"]:
    """Compute `rows_of`; its gradient cannot be differentiated again.

    Args:
        table: One row an id.
        ids: As for `rows_of`.

    Example:
        >>> fused_rows_of(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 0, 1])).flatten()
        tensor([2., 1., 2.])
    """
    rows: Tensor = _Rows.apply(table, ids) if torch.is_grad_enabled() else rows_of(table, ids)
    return rows


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.num_rows = len(table)
        return rows_of(table, ids)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        # No id is left out, none weighed by how often it comes.
        return torch.ops.aten.embedding_dense_backward(grad, ids, ctx.num_rows, -1, False), None
