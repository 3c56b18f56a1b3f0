"""A dry run counts what a real run of the same model does, and leaves the model as it was."""

import os
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.flop_counter import FlopCounterMode

from hornbook.accounting import Attention, Precision
from hornbook.accounting.compiled_dry_run import compiled_saved_bytes
from hornbook.accounting.dry_run import counting_saved, dry_run
from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.optim import AdamW
from hornbook.trainer import checkpoint_activations

# Whether what takes long runs: `nox -s accounting` takes all.
ALL = "HORNBOOK_NUM_SHAPES" in os.environ


def test_a_dry_run_leaves_the_model_alone_and_takes_it_from_any_device() -> None:
    config = TransformerConfig(
        vocab_size=50, context_length=8, num_layers=2, d_model=12, num_heads=3, d_ff=20, tied_embeddings=True
    )
    ids = torch.zeros(2, 8, dtype=torch.int64)
    model = TransformerLM(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    runs = [
        dry_run(model, [ids, ids.clone()]),
        dry_run(TransformerLM(config, device="meta"), [ids, ids.clone()]),
    ]
    assert runs[0] == runs[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_dry_run_counts_a_model_of_torch_too() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    run = dry_run(
        layer,
        [torch.zeros(7, 3)],
        loss=lambda model, x: model(x).sum(),
        optimizer=lambda m: AdamW(m.parameters(), 1e-3),
    )
    assert run.num_parameters == 20 + 12
    assert run.forward_flops == 2 * 7 * 3 * 5 + 2 * 7 * 5 * 2
    # The input needs no gradient.
    assert run.training_flops == 3 * run.forward_flops - 2 * 7 * 3 * 5
    assert run.saved_bytes == 4 * 7 * 5  # what ReLU gave, which the second layer takes
    with pytest.raises(ValueError, match="the model has no parameters"):
        dry_run(torch.nn.ReLU(), [torch.zeros(1)])


@pytest.mark.parametrize("attention", get_args(Attention))
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_dry_run_counts_the_flops_that_torch_counts(attention: Attention, checkpointing: bool) -> None:
    config = TransformerConfig(
        vocab_size=50, context_length=8, num_layers=2, d_model=12, num_heads=3, d_ff=20, attention=attention
    )
    model = TransformerLM(config)
    if checkpointing:
        checkpoint_activations(model.layers)
    ids = torch.zeros(2, 8, dtype=torch.int64)
    run = dry_run(model, [ids, ids.clone()])
    with FlopCounterMode(display=False) as counter:
        loss = model.loss(ids, ids)
        assert run.forward_flops == counter.get_total_flops()
        loss.backward()  # type: ignore[no-untyped-call]
    assert run.training_flops == counter.get_total_flops()


def test_a_dry_run_tells_of_shapes_that_do_not_meet() -> None:
    def loss(model: Module, x: Tensor) -> Tensor:
        total: Tensor = model(x).mul_(torch.ones(4)).sum()
        return total

    with pytest.raises(RuntimeError, match="broadcast"):
        dry_run(torch.nn.Linear(3, 5), [torch.zeros(7, 3)], loss=loss)


def test_a_compiled_model_computes_again_what_is_cheap() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(3, 5), *(torch.nn.SiLU() for _ in range(3)))

    def loss(model: Module, x: Tensor) -> Tensor:
        total: Tensor = model(x).sum()
        return total

    inputs = [torch.zeros(7, 3)]
    assert dry_run(layers, inputs, loss=loss).saved_bytes == 3 * 4 * 7 * 5  # what goes into each SiLU
    assert compiled_saved_bytes(layers, inputs, loss=loss) == 4 * 7 * 5  # what goes into the first
    assert all(parameter.grad is None for parameter in layers.parameters())


@pytest.mark.skipif(not ALL, reason="it compiles: `nox -s accounting` runs it")
@pytest.mark.parametrize(
    ("change", "precision"),
    [
        ({}, "fp32"),
        ({"attention": "explicit", "qk_norm": True}, "fp32"),
        ({"ffn": "relu2", "norm": "post", "tied_embeddings": True}, "bf16"),
        ({"attention": "explicit", "num_kv_heads": 2}, "bf16"),
    ],
)
def test_what_a_compiled_model_saves_is_known_without_compiling(
    change: dict[str, Any], precision: Precision
) -> None:
    sizes = {
        "vocab_size": 500,
        "context_length": 32,
        "num_layers": 2,
        "d_model": 48,
        "num_heads": 4,
        "d_ff": 96,
    }
    model = TransformerLM(TransformerConfig(**(sizes | change)))
    ids, targets = torch.randint(500, (2, 2, 32)).unbind()
    said = compiled_saved_bytes(model, [ids, targets], precision=precision)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss: Tensor = model.loss(ids, targets)
        return loss

    torch._dynamo.reset()
    with counting_saved([*model.parameters(), *model.buffers(), ids, targets]) as saved:
        loss = torch.compile(forward)()
    assert sum(saved.values()) == said
    loss.backward()  # type: ignore[no-untyped-call]
