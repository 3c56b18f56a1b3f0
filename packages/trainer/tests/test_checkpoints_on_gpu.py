"""On a GPU: the same bits each time, and checkpoints of the moment; skipped where there is none."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from hornbook.optim import AdamW
from hornbook.trainer import Checkpoints, deterministic, random_windows
from tiny_run import TOKENS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def gradients_once(table: Tensor, ids: Tensor) -> Tensor:
    """Of an embedding that many tokens share and of attention by torch's fast kernel."""
    with torch.autocast("cuda", torch.bfloat16):
        heads = nn.functional.embedding(ids, table).view(*ids.shape, 4, 64).transpose(1, 2).bfloat16()
        mixed = scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        logits = mixed.transpose(1, 2).flatten(2) @ table.T
    return torch.autograd.grad(cross_entropy(logits.flatten(0, 1).float(), ids.flatten()), table)[0]


def test_gradients_have_the_same_bits_each_time() -> None:
    table = torch.randn(40, 256, device="cuda", requires_grad=True)
    ids = torch.randint(40, (16, 512), device="cuda")
    with deterministic(torch.device("cuda")):
        first = gradients_once(table, ids)
        assert all(torch.equal(first, gradients_once(table, ids)) for _ in range(20))
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_is_saved_meanwhile_is_what_was_there(tmp_path: Path) -> None:
    model = nn.Linear(1000, 1000).cuda()
    optimizer = AdamW(model.parameters(), 0.1)
    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    for step in range(1, 4):
        model(torch.ones(1000, device="cuda")).sum().backward()
        optimizer.step()
        weight = model.weight.detach().clone()
        state = optimizer.state[model.weight]
        moments = {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}
        assert moments
        checkpoints.save(step, model, optimizer, wallclock_seconds=0.0)
        with torch.no_grad():  # while a thread writes
            model.weight.zero_()
        optimizer.step()
        checkpoints.wait()
        restored = checkpoints.restore(model, optimizer)
        assert restored is not None and restored.step == step
        assert torch.equal(model.weight, weight)
        for name, value in moments.items():
            assert torch.equal(optimizer.state[model.weight][name], value)


def test_batches_come_in_order_from_pinned_memory() -> None:
    here, there = (
        random_windows(TOKENS, batch_size=64, context_length=8, device=device, seed=1)
        for device in ("cpu", "cuda")
    )
    # Many at once: the pinned memory of one batch must not be filled again before it is copied.
    batches = [there(step) for step in range(1, 200)]
    for step, (inputs, targets) in enumerate(batches, start=1):
        assert torch.equal(inputs.cpu(), here(step)[0]) and torch.equal(targets.cpu(), here(step)[1])
