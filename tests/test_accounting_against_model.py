"""The formulas of hornbook.accounting hold for the model of hornbook.nn; the two do not import each other."""

from dataclasses import asdict, fields, replace
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from hornbook.accounting import (
    PRESETS,
    Shape,
    TransformerShape,
    forward_flops,
    forward_ledger,
    num_parameters,
    training_flops,
)
from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy
from reference_lm import configs

# What changes neither parameters nor matrix multiplies, so that no formula asks for it.
FREE = {"rope_theta", "norm_eps", "logit_softcap", "zero_init_outputs", "attention"}


def config_of(shape: Shape) -> TransformerConfig:
    return TransformerConfig(**asdict(shape))


def counted_flops(
    config: TransformerConfig, batch_size: int, seq: int, device: str = "cpu"
) -> tuple[int, int]:
    """What torch counts in a forward pass and in a forward and backward pass."""
    model = TransformerLM(config, device=device)
    token_ids = torch.zeros(batch_size, seq, dtype=torch.int64, device=device)
    with FlopCounterMode(display=False) as counter:
        logits = model(token_ids)
        forward = counter.get_total_flops()
        cross_entropy(logits, token_ids).backward()  # type: ignore[no-untyped-call]
    return forward, counter.get_total_flops()


def test_every_field_of_a_config_is_counted_or_known_to_be_free() -> None:
    # A switch that is new in the model would otherwise be left out without a word.
    assert {field.name for field in fields(TransformerConfig)} == {f.name for f in fields(Shape)} | FREE


@settings(deadline=None, max_examples=60)
@given(config=configs(), batch_size=st.integers(1, 4), data=st.data())
def test_parameters_and_flops_are_those_of_the_model_for_every_switch(
    config: TransformerConfig, batch_size: int, data: st.DataObject
) -> None:
    config = replace(config, attention="explicit")
    shape: TransformerShape = config  # mypy: a model's config is a shape as it stands
    seq = data.draw(st.integers(1, config.context_length))
    assert num_parameters(shape) == sum(p.numel() for p in TransformerLM(config).parameters())
    forward, both = counted_flops(config, batch_size, seq)
    assert forward == forward_flops(shape, batch_size=batch_size, sequence_length=seq)
    assert both == training_flops(shape, batch_size=batch_size, sequence_length=seq)


@settings(deadline=None, max_examples=30)
@given(config=configs(), batch_size=st.integers(1, 4), data=st.data())
def test_the_fused_kernel_computes_the_scores_once_more_going_backward(
    config: TransformerConfig, batch_size: int, data: st.DataObject
) -> None:
    """Five products of attention's size where the formula, and useful work, have four."""
    config = replace(config, attention="fused")
    seq = data.draw(st.integers(1, config.context_length))
    scores = next(
        row.flops
        for row in forward_ledger(config, batch_size=batch_size, sequence_length=seq)
        if row.operation.startswith("scores")
    )
    forward, both = counted_flops(config, batch_size, seq)
    assert forward == forward_flops(config, batch_size=batch_size, sequence_length=seq)
    assert both == training_flops(config, batch_size=batch_size, sequence_length=seq) + scores


@settings(deadline=None, max_examples=30)
@given(
    config=configs(),
    batch_size=st.integers(1, 4),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    chunk_size=st.integers(1, 50),
)
def test_the_loss_in_chunks_multiplies_no_matrix_more(
    config: TransformerConfig, batch_size: int, reduction: Literal["mean", "sum", "none"], chunk_size: int
) -> None:
    model = TransformerLM(replace(config, attention="explicit"))
    token_ids = torch.zeros(batch_size, config.context_length, dtype=torch.int64)
    # By itself the counter passes over a product that is added in place.
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        loss = model.loss(token_ids, token_ids, reduction=reduction, chunk_size=chunk_size)
        loss.sum().backward()  # type: ignore[no-untyped-call]
    assert counter.get_total_flops() == training_flops(config, batch_size=batch_size)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_and_flops_of_the_presets_are_those_of_the_model(name: str) -> None:
    config = config_of(PRESETS[name])
    model = TransformerLM(config, device="meta")
    assert num_parameters(config) == sum(p.numel() for p in model.parameters())
    forward, both = counted_flops(config, 1, config.context_length, device="meta")
    assert (forward, both) == (forward_flops(config), training_flops(config))


@pytest.mark.parametrize(
    "impossible",
    [
        {"d_ff": 0},
        {"num_layers": 2.0},
        {"num_heads": 3},
        {"num_heads": 8},
        {"num_kv_heads": 0},
        {"num_kv_heads": 1.0},
        {"num_kv_heads": 3},
        {"norm": "layer"},
        {"position": "learned"},
        {"ffn": "gelu"},
        {"tied_embeddings": 1},
        {"qk_norm": 1},
        {"value_residual": None},
        {"embedding_shortcut": "no"},
    ],
)
def test_the_accounting_refuses_what_the_model_refuses(impossible: dict[str, Any]) -> None:
    shape = Shape(vocab_size=10, context_length=16, num_layers=1, d_model=8, num_heads=2, d_ff=8)
    config = config_of(shape)
    with pytest.raises((TypeError, ValueError)) as ours:
        replace(shape, **impossible)
    with pytest.raises(ours.type):
        replace(config, **impossible)
