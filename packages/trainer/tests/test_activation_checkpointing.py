import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hornbook.trainer import checkpoint_activations


def blocks() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, 8)) for _ in range(4))
    )


def kept_bytes(run: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Bytes of the tensors that the forward pass leaves for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = run()
    return sum(kept.values()), value


def test_gradients_keep_their_bits_and_less_is_kept_for_them() -> None:
    plain = blocks()
    saving = copy.deepcopy(plain)
    checkpoint_activations(saving)
    assert list(saving.state_dict()) == list(plain.state_dict())
    x = torch.randn(500, 8)
    results: list[tuple[int, Tensor, list[Any]]] = []
    for model in (plain, saving):
        torch.manual_seed(1)
        num_bytes, value = kept_bytes(lambda model=model: model(x).square().mean())  # type: ignore[misc]
        value.backward()  # type: ignore[no-untyped-call]
        results.append((num_bytes, value, [param.grad for param in model.parameters()]))
    (plain_bytes, plain_value, plain_grads), (bytes_, value, grads) = results
    assert torch.equal(value, plain_value)
    assert all(torch.equal(one, two) for one, two in zip(grads, plain_grads, strict=True))
    assert bytes_ < plain_bytes / 4


def test_without_gradients_nothing_changes() -> None:
    model = blocks().eval()
    x = torch.randn(3, 8)
    with torch.no_grad():
        before = model(x)
        checkpoint_activations(model)
        assert torch.equal(model(x), before)
