from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.accounting import (
    GPT2_XL,
    TINYSTORIES,
    Attention,
    Precision,
    Shape,
    StepSettings,
    format_bytes,
    max_batch_size,
    num_parameters,
    num_vector_parameters,
    parse_bytes,
    training_memory,
)
from hornbook.accounting.formulas import evaluate, shape_symbols

SMALL = Shape(vocab_size=10, context_length=16, num_layers=2, d_model=8, num_heads=2, d_ff=12)

any_settings = st.builds(
    StepSettings,
    precision=st.sampled_from(get_args(Precision)),
    attention=st.sampled_from(get_args(Attention)),
    checkpointing=st.booleans(),
    chunk_tokens=st.integers(1, 40),
    logit_softcap=st.booleans(),
    num_micro_batches=st.integers(1, 3),
    optimizer_copies=st.booleans(),
    weight_average=st.booleans(),
)


def test_what_one_fused_block_saves_by_hand() -> None:
    # One sequence of 3 tokens, d = 8, f = 12, 2 heads of width 4, V = 10; floats of 4 bytes.
    memory = training_memory(replace(SMALL, num_layers=1), sequence_length=3)
    floats = {
        "norms: two inputs, two reciprocals a token": 2 * 3 * 8 + 2 * 3,
        "input of Q, K, V": 3 * 8,
        "turns of RoPE, two floats for each pair, there and back": 2 * 3 * 4,
        "queries, keys, values, output, a logarithm a head": 4 * 3 * 8 + 3 * 2,
        "input of W1 and W3": 3 * 8,
        "W1 x and W3 x, and their gated product": 3 * 3 * 12,
        "final norm": 3 * 8 + 3,
        "gradients of the head and of its input": 10 * 8 + 3 * 8,
    }
    assert memory.saved_bytes == 4 * sum(floats.values())


@settings(deadline=None)
@given(any_settings, st.integers(1, 4), st.integers(1, 16))
def test_every_formula_of_a_memory_row_gives_its_bytes(how: StepSettings, batch_size: int, seq: int) -> None:
    memory = training_memory(SMALL, how, batch_size=batch_size, sequence_length=seq)
    sizes = {"B": batch_size, "S": seq, "T": batch_size * seq, "P": num_parameters(SMALL)}
    for row in memory.rows:
        assert evaluate(row.formula, shape_symbols(SMALL) | sizes) == row.num_bytes


@settings(deadline=None)
@given(any_settings, st.integers(1, 4))
def test_a_larger_batch_never_takes_less(how: StepSettings, batch_size: int) -> None:
    less, more = (
        training_memory(SMALL, how, batch_size=size).peak_bytes for size in (batch_size, batch_size + 1)
    )
    assert less <= more


@settings(deadline=None)
@given(any_settings)
def test_the_walk_through_a_step_ends_with_parameters_state_and_gradients(how: StepSettings) -> None:
    """Nothing leaks: the update's peak is what stays, and what the update itself takes."""
    memory = training_memory(SMALL, how)
    matrices = num_parameters(SMALL) - num_vector_parameters(SMALL)
    update = 4 * (matrices if how.optimizer_copies else 12 * 8)  # f x d is the largest, and one slice
    static = sum(row.num_bytes for row in memory.static)
    assert memory.peaks["optimizer"] == static + 4 * num_parameters(SMALL) + update


def test_gradients_of_a_batch_before_are_there_from_the_start() -> None:
    one, two = (training_memory(SMALL, StepSettings(num_micro_batches=number)) for number in (1, 2))
    assert two.peaks["forward"] == one.peaks["forward"] + 4 * num_parameters(SMALL)
    assert training_memory(SMALL, StepSettings(num_micro_batches=9)).peaks == two.peaks
    average = training_memory(SMALL, StepSettings(weight_average=True))
    assert average.peak_bytes == one.peak_bytes + 4 * num_parameters(SMALL)
    overhead = training_memory(SMALL, StepSettings(overhead_bytes=1_000))
    assert overhead.peak_bytes == one.peak_bytes + 1_000


@settings(deadline=None, max_examples=20)
@given(any_settings, st.floats(1.05, 30))
def test_the_largest_batch_is_the_last_that_fits(how: StepSettings, factor: float) -> None:
    budget = factor * training_memory(SMALL, how).peak_bytes
    largest = max_batch_size(SMALL, budget, how)
    assert training_memory(SMALL, how, batch_size=largest).peak_bytes <= budget
    assert training_memory(SMALL, how, batch_size=largest + 1).peak_bytes > budget


def test_a_budget_that_is_too_small_says_by_how_much() -> None:
    with pytest.raises(ValueError, match=r"takes 34 GB, 10 GB more than the budget of 24 GB"):
        max_batch_size(GPT2_XL, 24e9)
    with pytest.raises(ValueError, match="budget_bytes must be more than 0 and finite, got -1"):
        max_batch_size(TINYSTORIES, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "fp16"}, "precision must be one of 'fp32', 'bf16', got 'fp16'"),
        ({"attention": "flash"}, "attention must be one of"),
        ({"chunk_tokens": 0}, "chunk_tokens must be at least 1, got 0"),
        ({"overhead_bytes": -1}, "overhead_bytes must be at least 0, got -1"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepSettings(**change)


@pytest.mark.parametrize("change", [{"biases": True}, {"position": "learned"}, {"ffn": "gelu"}])
def test_layers_that_nn_has_not_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"memory is that of hornbook.nn, which has no"):
        training_memory(replace(SMALL, **change))


def test_bytes_are_read_and_written_in_tens_and_in_twos() -> None:
    assert parse_bytes("80GB") == 80 * 10**9
    assert parse_bytes("1.5 GiB") == 3 * 2**29
    assert parse_bytes("512B") == 512
    assert format_bytes(85_899_345_920) == "85.9 GB"
    for wrong in ("80", "GB", "80 gigabytes", "-3GB", "0GB", "nanGB"):
        with pytest.raises(ValueError, match="bytes"):
            parse_bytes(wrong)


def test_a_budget_of_any_size_is_answered_and_layers_without_end_are_refused() -> None:
    largest = max_batch_size(TINYSTORIES, 10**18)
    assert training_memory(TINYSTORIES, batch_size=largest).peak_bytes <= 10**18
    assert training_memory(TINYSTORIES, batch_size=largest + 1).peak_bytes > 10**18
    deep = replace(TINYSTORIES, num_layers=10**9)
    with pytest.raises(ValueError, match="of 10,000 at most, got num_layers 1,000,000,000"):
        training_memory(deep)


def test_chunks_between_count_as_if_each_were_walked_through() -> None:
    # From the third on, one more only adds its part of the gradient of the input.
    def forward(tokens: int) -> int:
        shape = replace(TINYSTORIES, context_length=tokens, num_layers=1, position="none")
        return training_memory(shape, StepSettings(chunk_tokens=64)).peaks["forward"]

    more = [forward(64 * chunks + 3) - forward(64 * (chunks - 1) + 3) for chunks in range(3, 9)]
    assert len(set(more)) == 1
