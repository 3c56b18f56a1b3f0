"""The memory of hornbook.accounting is that of hornbook.nn, tensor by tensor: neither imports the other."""

import os
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Module
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from hornbook.accounting import (
    GPT2_XL,
    TINYSTORIES,
    Attention,
    Norm,
    Precision,
    Shape,
    StepSettings,
    max_batch_size,
    training_ledger,
    training_memory,
)
from hornbook.accounting import Optimizer as OptimizerName
from hornbook.accounting.dry_run import DryRun, dry_run, dry_run_table
from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.optim import AdamW, Muon, decay_groups, muon_groups
from hornbook.trainer import checkpoint_activations
from reference_lm import configs

# How many shapes nobody picked, and whether the large ones run: `nox -s accounting` takes all.
NUM_SHAPES = int(os.environ.get("HORNBOOK_NUM_SHAPES", "12"))
ALL = "HORNBOOK_NUM_SHAPES" in os.environ


def seen(
    config: TransformerConfig,
    batch_size: int,
    seq: int,
    *,
    precision: Precision = "fp32",
    checkpointing: bool = False,
    optimizer: Callable[[Module], Optimizer] | None = None,
) -> DryRun:
    """A dry run of the model, which is never allocated."""
    with FakeTensorMode():
        model = TransformerLM(config)
        if checkpointing:
            checkpoint_activations(model.layers)
        ids = torch.zeros(batch_size, seq, dtype=torch.int64)
        batch = [ids, torch.zeros_like(ids)]

    return dry_run(model, batch, precision=precision, optimizer=optimizer)


def optimizer_of(model: Module, how: StepSettings) -> Optimizer:
    """As the apps make it, on a CPU."""
    if how.optimizer == "adamw":
        return AdamW(decay_groups(model, 0.1), 1e-3)
    names = {name.split(".")[0] for name, _ in model.named_parameters()}  # a tied head has none
    not_hidden = names & {"token_embeddings", "lm_head"}
    dtype = torch.bfloat16 if how.muon_in_bf16 else torch.float32
    return Muon(muon_groups(model, 0.1, not_hidden=sorted(not_hidden)), 1e-3, dtype=dtype)


def settings_of(config: TransformerConfig, precision: Precision, *, checkpointing: bool) -> StepSettings:
    """What the formulas must be told of a model that runs on a CPU."""
    return StepSettings(
        precision=precision,
        attention="explicit" if config.attention == "explicit" else "fused",
        checkpointing=checkpointing,
        logit_softcap=config.logit_softcap is not None,
    )


def config_of(shape: Shape, attention: Attention = "fused") -> TransformerConfig:
    fields = asdict(shape)
    assert not fields.pop("biases")
    return TransformerConfig(**fields, attention=attention)


@settings(deadline=None, max_examples=NUM_SHAPES)
@given(
    config=configs(),
    batch_size=st.integers(1, 4),
    precision=st.sampled_from(get_args(Precision)),
    checkpointing=st.booleans(),
    data=st.data(),
)
def test_what_is_saved_is_what_the_model_saves_to_the_byte(
    config: TransformerConfig, batch_size: int, precision: Precision, checkpointing: bool, data: st.DataObject
) -> None:
    seq = data.draw(st.integers(1, config.context_length))
    run = seen(config, batch_size, seq, precision=precision, checkpointing=checkpointing)
    how = settings_of(config, precision, checkpointing=checkpointing)
    memory = training_memory(config, how, batch_size=batch_size, sequence_length=seq)
    assert memory.saved_bytes == run.saved_bytes


def test_what_a_real_step_saves_is_what_a_dry_one_does() -> None:
    config = config_of(replace(TINYSTORIES, context_length=32))
    model = TransformerLM(config)
    ids = torch.randint(config.vocab_size, (2, 32))
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers(), ids)}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.loss(ids, ids)
    how = StepSettings()
    assert sum(saved.values()) == training_memory(config, how, batch_size=2).saved_bytes
    loss.backward()  # type: ignore[no-untyped-call]


def realistic(random_: random.Random) -> tuple[Shape, StepSettings, int]:
    """A shape that somebody might train, and how."""
    num_kv_heads, group = random_.choice([2, 4, 8]), random_.choice([1, 1, 2])
    num_heads = num_kv_heads * group
    d_model = num_heads * random_.choice([16, 32, 64])
    shape = Shape(
        vocab_size=random_.choice([1_000, 4_096, 10_000, 32_000]),
        context_length=random_.choice([64, 128, 256, 512]),
        num_layers=random_.randint(2, 6),
        d_model=d_model,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=random_.choice([None, None, 32]),
        d_ff=random_.choice([2 * d_model, 4 * d_model, max(64, d_model * 8 // 3 // 64 * 64)]),
        norm=random_.choice(["pre", "pre", "post", "none"]),
        position=random_.choice(["rope", "rope", "none"]),
        ffn=random_.choice(["swiglu", "swiglu", "silu", "relu2"]),
        tied_embeddings=random_.random() < 0.4,
        qk_norm=random_.random() < 0.4,
        value_residual=random_.random() < 0.3,
        embedding_shortcut=random_.random() < 0.3,
    )
    how = StepSettings(
        precision=random_.choice(get_args(Precision)),
        attention=random_.choice(get_args(Attention)),
        checkpointing=random_.random() < 0.3,
        logit_softcap=random_.random() < 0.2,
        optimizer=random_.choice(get_args(OptimizerName)),
        muon_in_bf16=random_.random() < 0.5,
    )
    return shape, how, random_.choice([1, 2, 4, 8, 16, 32])


def peak_error(shape: Shape, how: StepSettings, batch_size: int) -> float:
    """That of the phase where it is largest: forward, backward or the optimizer's."""
    config = replace(config_of(shape, how.attention), logit_softcap=5.0 if how.logit_softcap else None)
    run = seen(
        config,
        batch_size,
        shape.context_length,
        precision=how.precision,
        checkpointing=how.checkpointing,
        optimizer=partial(optimizer_of, how=how),
    )
    said = training_memory(shape, how, batch_size=batch_size)
    sys.stdout.write(dry_run_table(run, shape, how, batch_size=batch_size) + "\n\n")
    return max((said.peaks[phase] / run.peaks[phase] - 1 for phase in run.peaks), key=abs)


def test_the_peak_of_shapes_that_nobody_picked_is_near() -> None:
    """At most 0.01 % off in any phase; the errors are printed."""
    random_ = random.Random(6)
    errors = [peak_error(*realistic(random_)) for _ in range(100 if ALL else 4)]
    sys.stdout.write(f"largest error {max(map(abs, errors)):.5%} of {len(errors)}\n")
    assert max(map(abs, errors)) <= 1e-4


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_peak_of_a_block_that_runs_again_is_nearly_exact(norm: Norm, precision: Precision) -> None:
    """It stops once all that is kept is there; what its callers name is there until then."""
    shape = Shape(
        vocab_size=500,
        context_length=64,
        num_layers=2,
        d_model=128,
        num_heads=4,
        d_ff=256,
        norm=norm,
        ffn="silu",
        value_residual=True,
        embedding_shortcut=True,
    )
    how = StepSettings(precision=precision, checkpointing=True)
    assert abs(peak_error(shape, how, 16)) <= 1e-5


def test_the_peak_in_heads_wider_than_the_stream_is_nearly_exact() -> None:
    """Their norm lets go of what it kept before its output is rounded, so RoPE is where the most is there."""
    shape = Shape(
        vocab_size=100,
        context_length=64,
        num_layers=2,
        d_model=64,
        num_heads=8,
        num_kv_heads=4,
        head_dim=32,
        d_ff=64,
        qk_norm=True,
    )
    assert abs(peak_error(shape, StepSettings(precision="bf16", checkpointing=True), 16)) <= 1e-5


@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize("attention", get_args(Attention))
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_of_the_tinystories_model_is_nearly_exact(
    precision: Precision, attention: Attention, checkpointing: bool
) -> None:
    how = StepSettings(precision=precision, attention=attention, checkpointing=checkpointing)
    assert abs(peak_error(TINYSTORIES, how, 32)) <= 1e-4


@pytest.mark.parametrize("muon_in_bf16", [False, True])
def test_the_peak_of_muon_on_the_tinystories_model_is_nearly_exact(*, muon_in_bf16: bool) -> None:
    how = StepSettings(optimizer="muon", muon_in_bf16=muon_in_bf16)
    assert abs(peak_error(TINYSTORIES, how, 1)) <= 1e-4
    assert training_memory(TINYSTORIES, how).peak_phase == "optimizer"


@settings(deadline=None, max_examples=NUM_SHAPES)
@given(config=configs(), optimizer=st.sampled_from(get_args(OptimizerName)))
def test_what_an_optimizer_keeps_and_multiplies_is_what_the_running_one_does(
    config: TransformerConfig, optimizer: OptimizerName
) -> None:
    model = TransformerLM(config)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    how = StepSettings(optimizer=optimizer, muon_in_bf16=True)  # in float32 a CPU has a shorter way
    running = optimizer_of(model, how)
    with FlopCounterMode(display=False) as counter:
        running.step()
    kept = [leaf for leaf in tree_leaves(dict(running.state)) if isinstance(leaf, Tensor)]
    state = [row for row in training_memory(config, how).static if row.component in ("AdamW", "Muon")]
    assert sum(tensor.nbytes for tensor in kept) == sum(row.num_bytes for row in state)
    ledger = training_ledger(config, optimizer=optimizer)
    products = [row.flops for row in ledger if row.operation.startswith("Newton-Schulz")]
    assert counter.get_total_flops() == sum(products)
    assert bool(products) is (optimizer == "muon")


@pytest.mark.skipif(not ALL, reason="minutes: `nox -s accounting` runs it")
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"attention": "explicit"},
        {"checkpointing": True},
        {"checkpointing": True, "attention": "explicit"},
        {"precision": "bf16"},
    ],
)
def test_the_largest_batch_of_the_xl_shape_fits_and_one_more_does_not(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, budgets = StepSettings(**how), (80 * 10**9, 80 * 2**30)
    largest = [max_batch_size(GPT2_XL, budget, step) for budget in budgets]
    # The slices of SwiGLU, AdamW and the loss would be millions. Here they are 16 to 32 times as large, for
    # model and formula: they take 34 MB, one sequence more takes 400. The answer is that of the slices in
    # use, to which the other tests hold the formula.
    for slices in (
        *("nn.fused_swiglu.", "accounting._layers._SWIGLU", "optim.adamw.", "accounting._step."),
        *("nn.fused_loss.", "accounting._model._LOSS"),
    ):
        monkeypatch.setattr(f"hornbook.{slices}_SLICE", 2**22)
    assert largest == [max_batch_size(GPT2_XL, budget, step) for budget in budgets]
    config, peaks = config_of(GPT2_XL, step.attention), {}
    for batch_size in sorted({size + more for size in largest for more in (0, 1)}):
        run = seen(
            config,
            batch_size,
            1_024,
            precision=step.precision,
            checkpointing=step.checkpointing,
            optimizer=partial(optimizer_of, how=step),
        )
        peaks[batch_size] = run.peak_bytes
        error = training_memory(GPT2_XL, step, batch_size=batch_size).peak_bytes / run.peak_bytes - 1
        sys.stdout.write(
            f"{how}: batch {batch_size} peaks at {run.peak_bytes:,} bytes, formula {error:+.4%}\n"
        )
        assert abs(error) <= 0.005
    for budget, size in zip(budgets, largest, strict=True):
        assert peaks[size] <= budget < peaks[size + 1]
        sys.stdout.write(f"{how}: {size} fits in {budget:,} bytes, {size + 1} does not\n")


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    """The same on a model that runs in a second."""
    budget = 500_000_000
    for how in (StepSettings(), StepSettings(attention="explicit"), StepSettings(checkpointing=True)):
        largest = max_batch_size(TINYSTORIES, budget, how)
        for batch_size, fits in ((largest, True), (largest + 1, False)):
            config, adamw = config_of(TINYSTORIES, how.attention), partial(optimizer_of, how=how)
            run = seen(config, batch_size, 256, checkpointing=how.checkpointing, optimizer=adamw)
            assert (run.peak_bytes <= budget) is fits
