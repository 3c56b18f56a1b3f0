import pytest
import torch
from jaxtyping import TypeCheckError

import hornbook.nn.linear
from hornbook.nn import Linear, RMSNorm, cross_entropy

# When another part of the workspace imported hornbook.nn before this folder's conftest, in a joint run, the
# import hook came too late; each package's own run has it.
hooked = hasattr(hornbook.nn.linear.Linear.forward, "__wrapped__")


@pytest.mark.skipif(not hooked, reason="hornbook.nn was imported before the hook was installed")
def test_a_wrong_shape_or_dtype_fails_where_it_happens() -> None:
    with pytest.raises(TypeCheckError):
        Linear(4, 3)(torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(TypeCheckError):
        RMSNorm(4)(torch.tensor(1.0))
    with pytest.raises(TypeCheckError):
        cross_entropy(torch.zeros(2, 5), torch.zeros(3, dtype=torch.long))
