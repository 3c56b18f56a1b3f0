"""Less memory for more work: what lies within a block is computed again when its gradient is due."""

from collections.abc import Iterable
from typing import Any

from torch.nn import Module
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(blocks: Iterable[Module]) -> None:
    """Make modules keep only their inputs, and compute the rest again when it is due (Chen et al., 2016).

    Of L blocks, L inputs and one block's insides are then in memory at once, instead of all insides; the
    forward pass is done twice, which is a third more work. Values and gradients keep their bits: dropout
    draws the same numbers again. Parameters and their names stay as they are; without gradients nothing
    changes.

    Args:
        blocks: Changed in place; those of a Transformer, not what lies within them.

    Example:
        >>> import torch
        >>> block = torch.nn.Linear(2, 2)
        >>> checkpoint_activations([block])
        >>> block(torch.ones(1, 2)).sum().backward()
        >>> block.weight.grad
        tensor([[1., 1.],
                [1., 1.]])
    """
    for block in blocks:
        _wrap(block)


def _wrap(block: Module) -> None:
    forward = block.forward

    def checkpointed(*inputs: Any, **more: Any) -> Any:
        return checkpoint(forward, *inputs, use_reentrant=False, **more)

    block.forward = checkpointed
