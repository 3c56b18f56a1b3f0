"""Checks every shape annotation of hornbook.nn while the tests run; users pay nothing for them."""

from collections.abc import Callable, Iterator

import pytest
import torch
from jaxtyping import config, install_import_hook
from torch import Tensor

install_import_hook("hornbook.nn", "beartype.beartype")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Runs a test as users run the code: without the checks of annotations."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def _assert_agree(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor, rtol: float = 1e-12
) -> None:
    """Compare values and, for a random linear function of them, the gradients of all inputs."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out, expected = ours(*leaves), theirs(*leaves)
    torch.testing.assert_close(out, expected, rtol=rtol, atol=rtol)
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad((out * weights).sum(), leaves)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), leaves)
    torch.testing.assert_close(gradients, expected_gradients, rtol=rtol, atol=rtol)


@pytest.fixture
def assert_agree() -> Callable[..., None]:
    return _assert_agree
