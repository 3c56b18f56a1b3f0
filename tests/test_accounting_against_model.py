"""The formulas of hornbook.accounting hold for the model of hornbook.nn; the two do not import each other."""

import os
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Module
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hornbook.accounting import (
    PRESETS,
    Attention,
    Shape,
    TransformerShape,
    cached_ledger,
    forward_flops,
    generation_flops,
    kv_cache_bytes,
    num_parameters,
    training_flops,
    training_ledger,
)
from hornbook.nn import KVCache, TransformerConfig, TransformerLM, cross_entropy, generate_batch
from reference_lm import configs

# What changes neither parameters nor matrix multiplies, so that no formula asks for it.
FREE = {"rope_theta", "rope_scaling", "norm_eps", "logit_softcap", "zero_init_outputs", "attention"}


# How many shapes nobody picked; `nox -s accounting` takes 300.
NUM_SHAPES = int(os.environ.get("HORNBOOK_NUM_SHAPES", "40"))
MODELS = {name: shape for name, shape in PRESETS.items() if not shape.biases}


def config_of(shape: Shape) -> TransformerConfig:
    settings = asdict(shape)
    assert not settings.pop("biases")
    return TransformerConfig(**settings)


def with_checkpointing(model: TransformerLM) -> TransformerLM:
    """Let each block keep its input alone, as the trainer does it."""
    for layer, block in enumerate(model.layers):
        model.layers[layer] = _Checkpointed(block)
    return model


class _Checkpointed(Module):
    def __init__(self, block: Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        run = partial(self.block, **kwargs)
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False)


def counted_flops(
    config: TransformerConfig, batch_size: int, seq: int, device: str = "cpu", *, checkpointing: bool = False
) -> tuple[int, int]:
    """What torch counts in a forward pass and in a forward and backward pass."""
    model = TransformerLM(config, device=device)
    if checkpointing:
        with_checkpointing(model)
    token_ids = torch.zeros(batch_size, seq, dtype=torch.int64, device=device)
    with FlopCounterMode(display=False) as counter:
        logits = model(token_ids)
        forward = counter.get_total_flops()
        cross_entropy(logits, token_ids).backward()  # type: ignore[no-untyped-call]
    return forward, counter.get_total_flops()


def test_every_field_of_a_config_is_counted_or_known_to_be_free() -> None:
    # A switch that is new in the model would otherwise be left out without a word.
    assert {field.name for field in fields(TransformerConfig)} == {f.name for f in fields(Shape)} - {
        "biases"
    } | FREE


@settings(deadline=None, max_examples=NUM_SHAPES)
@given(config=configs(), batch_size=st.integers(1, 4), data=st.data())
def test_parameters_and_flops_are_those_of_the_model_for_every_switch(
    config: TransformerConfig, batch_size: int, data: st.DataObject
) -> None:
    shape: TransformerShape = config  # mypy: a model's config is a shape as it stands
    seq = data.draw(st.integers(1, config.context_length))
    checkpointing = data.draw(st.booleans())
    assert num_parameters(shape) == sum(p.numel() for p in TransformerLM(config).parameters())
    forward, both = counted_flops(config, batch_size, seq, checkpointing=checkpointing)
    assert forward == forward_flops(shape, batch_size=batch_size, sequence_length=seq)
    attention: Attention = "explicit" if config.attention == "explicit" else "fused"
    ledger = training_ledger(
        shape,
        batch_size=batch_size,
        sequence_length=seq,
        attention=attention,
        checkpointing=checkpointing,
    )
    assert both == sum(row.flops for row in ledger if row.phase != "optimizer")
    if attention == "explicit" and not checkpointing:
        assert both == training_flops(shape, batch_size=batch_size, sequence_length=seq)


@settings(deadline=None, max_examples=NUM_SHAPES)
@given(config=configs(), rows=st.integers(1, 3), data=st.data())
def test_a_pass_with_a_cache_costs_what_the_model_does(
    config: TransformerConfig, rows: int, data: st.DataObject
) -> None:
    """Its FLOPs for prefill and for decoding, and the bytes of the cache."""
    model = TransformerLM(config).requires_grad_(False)
    cache = KVCache(config, num_rows=rows)
    memory = [tensor for layer in cache.layers for tensor in (layer._keys, layer._values)]
    assert kv_cache_bytes(config, batch_size=rows) == sum(tensor.nbytes for tensor in memory)
    while cache.length < config.context_length:
        cached = cache.length
        new = data.draw(st.integers(1, config.context_length - cached))
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(rows, new, dtype=torch.int64), cache=cache)
        ledger = cached_ledger(config, batch_size=rows, new_tokens=new, cached_tokens=cached)
        assert counter.get_total_flops() == sum(row.flops for row in ledger)


@settings(deadline=None, max_examples=NUM_SHAPES)
@given(config=configs(), rows=st.integers(1, 3), data=st.data())
def test_generation_costs_what_the_model_does(
    config: TransformerConfig, rows: int, data: st.DataObject
) -> None:
    prompt = data.draw(st.integers(1, config.context_length - 1))
    new = data.draw(st.integers(1, config.context_length - prompt))
    with FlopCounterMode(display=False) as counter:
        generate_batch(TransformerLM(config), [[0] * prompt] * rows, max_tokens=new)
    assert counter.get_total_flops() == generation_flops(
        config, batch_size=rows, prompt_tokens=prompt, new_tokens=new
    )


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


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("small", 124_439_808), ("medium", 354_823_168), ("large", 774_030_080), ("xl", 1_557_611_200)],
)
def test_the_released_gpt2_has_the_parameters_of_transformers(name: str, parameters: int) -> None:
    shape = PRESETS[f"released-gpt2-{name}"]
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=shape.d_model, n_layer=shape.num_layers, n_head=shape.num_heads, n_positions=1_024
    )
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(config)
    model.tie_weights()
    assert sum(p.numel() for p in model.parameters()) == num_parameters(shape) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_flops_of_the_presets_are_those_of_the_model(name: str) -> None:
    config = config_of(PRESETS[name])
    model = TransformerLM(config, device="meta")
    assert num_parameters(config) == sum(p.numel() for p in model.parameters())
    forward, both = counted_flops(
        replace(config, attention="explicit"), 1, config.context_length, device="meta"
    )
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
        {"head_dim": 0},
        {"head_dim": 4.0},
        {"head_dim": 3},
        {"norm": "layer"},
        {"position": "sinusoidal"},
        {"ffn": "tanh"},
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
