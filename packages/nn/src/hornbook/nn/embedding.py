"""The table of token vectors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module, Parameter

from ._checks import check_positive_int
from ._ids import check_ids
from .fused_embedding import fused_rows_of, rows_of
from .init import truncated_normal


class Embedding(Module):
    """Look up a vector per token id.

    Initial values: N(0, 1), cut at 3, from torch's global generator.

    Args:
        num_embeddings: Number of ids.
        embedding_dim: Size of a vector.
        device: Where the table is made.
        dtype: Of the table.

    Raises:
        TypeError: If a size is not an int.
        ValueError: If a size is not positive.

    Example:
        >>> Embedding(100, 16)(torch.tensor([[3, 1, 99]])).shape
        torch.Size([1, 3, 16])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_positive_int("num_embeddings", num_embeddings)
        check_positive_int("embedding_dim", embedding_dim)
        super().__init__()
        self.weight = Parameter(
            truncated_normal(num_embeddings, embedding_dim, std=1.0, device=device, dtype=dtype)
        )

    def forward(self, token_ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch embedding_dim"]:
        """Return the rows of the table.

        Raises:
            TypeError: If the ids are not int64 or int32.
            ValueError: If an id is negative or too large, on the CPU. On a GPU the kernel asserts instead: to
                raise here, Python would have to wait for the device on every step.
        """
        check_ids("token_ids", token_ids)
        look_up = rows_of if torch.compiler.is_compiling() else fused_rows_of
        try:
            return look_up(self.weight, token_ids)
        except IndexError:
            low, high = token_ids.aminmax()
            msg = f"token ids must be from 0 to {self.weight.shape[0] - 1}, got ids from {low} to {high}"
            raise ValueError(msg) from None

    def extra_repr(self) -> str:
        """Show the sizes in `repr`."""
        return f"num_embeddings={self.weight.shape[0]}, embedding_dim={self.weight.shape[1]}"
