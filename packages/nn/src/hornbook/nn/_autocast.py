"""Whether autocast rounds here, and to what."""

import torch
from torch import Tensor


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """Return the dtype that autocast runs matrix products of x in; None where it leaves them alone."""
    kind = x.device.type
    # meta can't be asked; float64 is never rounded.
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)
