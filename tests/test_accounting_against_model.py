"""The formulas of hornbook.accounting hold for the model of hornbook.nn; the two do not import each other."""

from dataclasses import asdict, replace
from typing import Any

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
    num_parameters,
    training_flops,
)
from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy


def config_of(shape: Shape) -> TransformerConfig:
    return TransformerConfig(**asdict(shape))


def counted_flops(config: TransformerConfig, batch_size: int, seq: int, device: str) -> tuple[int, int]:
    """What torch counts in a forward pass and in a forward and backward pass."""
    model = TransformerLM(config, device=device)
    token_ids = torch.zeros(batch_size, seq, dtype=torch.int64, device=device)
    with FlopCounterMode(display=False) as counter:
        logits = model(token_ids)
        forward = counter.get_total_flops()
        cross_entropy(logits, token_ids).backward()  # type: ignore[no-untyped-call]
    return forward, counter.get_total_flops()


@st.composite
def configs(draw: st.DrawFn) -> TransformerConfig:
    num_heads = draw(st.integers(1, 5))
    return TransformerConfig(
        vocab_size=draw(st.integers(1, 50)),
        context_length=draw(st.integers(2, 16)),
        num_layers=draw(st.integers(1, 3)),
        d_model=num_heads * 2 * draw(st.integers(1, 6)),
        num_heads=num_heads,
        d_ff=draw(st.integers(1, 40)),
        norm=draw(st.sampled_from(["pre", "post", "none"])),
        position=draw(st.sampled_from(["rope", "none"])),
        ffn=draw(st.sampled_from(["swiglu", "silu"])),
        tied_embeddings=draw(st.booleans()),
    )


@settings(deadline=None, max_examples=25)
@given(config=configs(), batch_size=st.integers(1, 4), data=st.data())
def test_parameters_and_flops_are_those_of_the_model_for_every_switch(
    config: TransformerConfig, batch_size: int, data: st.DataObject
) -> None:
    shape: TransformerShape = config  # mypy: a model's config is a shape as it stands
    seq = data.draw(st.integers(1, config.context_length))
    assert num_parameters(shape) == sum(p.numel() for p in TransformerLM(config).parameters())
    forward, both = counted_flops(config, batch_size, seq, device="cpu")
    assert forward == forward_flops(shape, batch_size=batch_size, sequence_length=seq)
    assert both == training_flops(shape, batch_size=batch_size, sequence_length=seq)


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
        {"norm": "layer"},
        {"position": "learned"},
        {"ffn": "gelu"},
        {"tied_embeddings": 1},
    ],
)
def test_the_accounting_refuses_what_the_model_refuses(impossible: dict[str, Any]) -> None:
    shape = Shape(vocab_size=10, context_length=16, num_layers=1, d_model=8, num_heads=2, d_ff=8)
    config = config_of(shape)
    with pytest.raises((TypeError, ValueError)) as ours:
        replace(shape, **impossible)
    with pytest.raises(ours.type):
        replace(config, **impossible)
