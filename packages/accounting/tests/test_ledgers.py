import math
import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.accounting import (
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    OPENWEBTEXT,
    TINYSTORIES,
    Attention,
    FeedForward,
    Norm,
    Position,
    Shape,
    cached_ledger,
    decode_ledger,
    forward_flops,
    forward_ledger,
    generation_flops,
    kv_cache_bytes,
    num_non_embedding_parameters,
    num_parameters,
    parameter_ledger,
    training_flops,
    training_ledger,
)


def tiny(**changes: Any) -> Shape:
    shape = Shape(vocab_size=10, context_length=16, num_layers=1, d_model=4, num_heads=2, d_ff=8)
    return replace(shape, **changes)


@st.composite
def random_shapes(draw: st.DrawFn) -> Shape:
    sizes = st.integers(1, 10_000)
    num_kv_heads = draw(st.integers(1, 8))
    num_heads = num_kv_heads * draw(st.integers(1, 8))
    return Shape(
        vocab_size=draw(sizes),
        context_length=draw(sizes),
        num_layers=draw(st.integers(1, 100)),
        d_model=num_heads * 2 * draw(st.integers(1, 64)),
        head_dim=draw(st.sampled_from([None, 2, 64])),
        num_heads=num_heads,
        d_ff=draw(sizes),
        norm=draw(st.sampled_from(get_args(Norm))),
        position=draw(st.sampled_from(get_args(Position))),
        ffn=draw(st.sampled_from(get_args(FeedForward))),
        tied_embeddings=draw(st.booleans()),
        num_kv_heads=draw(st.sampled_from([num_kv_heads, None])),
        qk_norm=draw(st.booleans()),
        value_residual=draw(st.booleans()),
        embedding_shortcut=draw(st.booleans()),
        biases=draw(st.booleans()),
    )


def read(formula: str, shape: Shape, **sizes: int) -> int:
    """What a formula of a ledger says, read as the reader reads it."""
    symbols = {
        "V": shape.vocab_size,
        "C": shape.context_length,
        "L": shape.num_layers,
        "d": shape.d_model,
        "g": shape.num_kv_heads or shape.num_heads,
        "h": shape.num_heads,
        "k": shape.head_dim or shape.d_model // shape.num_heads,
        "f": shape.d_ff,
        **sizes,
    }
    # Letters, digits and signs alone, so that Python may read it as it reads arithmetic.
    assert re.fullmatch(r"[A-Za-z0-9()+·²³ -]+", formula)
    python = formula.replace("·", "*").replace("²", "**2").replace("³", "**3")
    return int(eval(python, {"__builtins__": {}}, symbols))


@pytest.mark.parametrize(
    ("shape", "parameters", "non_embedding"),
    [
        (GPT2_SMALL, 190_460_160, 113_265_408),
        (GPT2_MEDIUM, 505_629_696, 402_703_360),
        (GPT2_LARGE, 1_072_469_760, 943_811_840),
        (GPT2_XL, 2_127_057_600, 1_966_235_200),
        (replace(GPT2_XL, d_ff=4_288), 1_640_452_800, None),
        (replace(GPT2_XL, ffn="silu"), 1_635_537_600, None),
        (replace(GPT2_XL, tied_embeddings=True), 2_046_646_400, 1_966_235_200),
        (TINYSTORIES, 22_696_448, 12_456_448),
        (OPENWEBTEXT, 45_224_448, 12_456_448),
    ],
)
def test_known_shapes_have_the_parameters_that_a_real_model_has(
    shape: Shape, parameters: int, non_embedding: int | None
) -> None:
    assert num_parameters(shape) == parameters
    assert non_embedding is None or num_non_embedding_parameters(shape) == non_embedding


def test_the_parameters_of_a_tiny_model_by_hand() -> None:
    # V=10, L=1, d=4, f=8: embedding 40, Q and O 4 x 4, K and V 4 x 4, three 4 x 8, two gains of 4 and a
    # final one, head 40.
    counts = [row.num_parameters for row in parameter_ledger(tiny())]
    assert counts == [40, 32, 32, 96, 8, 4, 40]
    assert num_parameters(tiny()) == 252
    assert num_non_embedding_parameters(tiny()) == 172


def test_each_switch_changes_what_it_should() -> None:
    base = num_parameters(tiny())
    assert num_parameters(tiny(norm="post")) == base - 4  # no final norm
    assert num_parameters(tiny(norm="none")) == base - 12
    assert num_parameters(tiny(ffn="silu")) == base - 32  # no W3
    assert num_parameters(tiny(ffn="relu2")) == base - 32
    assert num_parameters(tiny(num_kv_heads=1)) == base - 16  # K and V are 2 x 4
    assert num_parameters(tiny(num_kv_heads=2)) == base
    assert num_parameters(tiny(qk_norm=True)) == base + 4  # two gains of 2
    assert num_parameters(tiny(norm="none", qk_norm=True)) == base - 12 + 4
    assert num_parameters(tiny(value_residual=True)) == base  # the first layer is the only one
    three = num_parameters(tiny(num_layers=3))
    assert num_parameters(tiny(num_layers=3, value_residual=True)) == three + 4
    assert num_parameters(tiny(num_layers=3, embedding_shortcut=True)) == three + 6
    assert num_parameters(tiny(position="none")) == base
    assert num_parameters(tiny(tied_embeddings=True)) == base - 40
    assert num_non_embedding_parameters(tiny(tied_embeddings=True)) == 172


@given(random_shapes())
def test_every_formula_that_is_printed_gives_its_count(shape: Shape) -> None:
    for row in parameter_ledger(shape):
        assert read(row.formula, shape) == row.num_parameters


@given(random_shapes(), st.integers(1, 10))
def test_each_further_layer_adds_the_same_parameters(shape: Shape, num_more: int) -> None:
    one, two, more = (
        num_parameters(replace(shape, num_layers=shape.num_layers + extra)) for extra in (0, 1, num_more)
    )
    assert more - one == num_more * (two - one)


@given(random_shapes())
def test_heads_and_context_have_no_parameters(shape: Shape) -> None:
    # What heads share is another matter, and so is a table of positions.
    shape = replace(shape, num_kv_heads=None, head_dim=None, qk_norm=False, position="rope")
    other = replace(shape, num_heads=1, context_length=shape.context_length + 1, position="none")
    assert num_parameters(other) == num_parameters(shape)


@pytest.mark.parametrize(
    ("shape", "flops", "shares"),
    [
        (GPT2_SMALL, 349_630_365_696, (16.58, 11.06, 49.75, 22.61)),
        (GPT2_MEDIUM, 1_033_109_504_000, (19.96, 9.98, 59.87, 10.20)),
        (GPT2_LARGE, 2_257_754_521_600, (21.40, 8.56, 64.20, 5.84)),
        (GPT2_XL, 4_513_336_524_800, (22.30, 7.14, 66.91, 3.65)),
        (replace(GPT2_XL, context_length=16_384), 149_522_795_724_800, (10.77, 55.15, 32.32, 1.76)),
        (TINYSTORIES, 9_533_652_992, (22.53, 5.63, 44.35, 27.50)),
    ],
)
def test_known_shapes_have_the_flops_that_torch_counts(
    shape: Shape, flops: int, shares: tuple[float, float, float, float]
) -> None:
    assert forward_flops(shape) == flops
    rows = [100 * row.share for row in forward_ledger(shape)]
    grouped = (rows[0] + rows[1] + rows[4], rows[2] + rows[3], rows[5] + rows[6], rows[7])
    assert grouped == pytest.approx(shares, abs=0.006)


def test_a_larger_vocabulary_costs_the_head_alone() -> None:
    extra = forward_flops(OPENWEBTEXT) - forward_flops(TINYSTORIES)
    assert extra == 2 * 256 * 512 * 22_000
    assert forward_flops(OPENWEBTEXT) / forward_flops(TINYSTORIES) == pytest.approx(1.605, abs=5e-4)


def test_the_flops_of_a_tiny_model_by_hand() -> None:
    # V=10, L=1, d=4, f=8, one sequence of 3 tokens: 2 m n p for each product of (m, n) and (n, p).
    rows = forward_ledger(tiny(), sequence_length=3)
    assert [row.flops for row in rows] == [
        2 * 3 * 4 * 4,  # Q
        2 * (2 * 3 * 4 * 4),  # K, V
        2 * (2 * 3 * 2 * 3),  # scores: 2 heads of width 2
        2 * (2 * 3 * 3 * 2),  # weighted values
        2 * 3 * 4 * 4,  # output
        2 * (2 * 3 * 4 * 8),  # W1, W3
        2 * 3 * 8 * 4,  # W2
        2 * 3 * 4 * 10,  # head
    ]
    assert forward_flops(tiny(), sequence_length=3) == 1_344
    assert training_flops(tiny(), sequence_length=3) == 4_032
    assert forward_flops(tiny(ffn="silu"), sequence_length=3) == 1_344 - 2 * 3 * 4 * 8  # no W3
    assert forward_flops(tiny(num_kv_heads=1), sequence_length=3) == 1_344 - 2 * (
        2 * 3 * 4 * 2
    )  # K, V halved


@given(random_shapes(), st.integers(1, 64), st.data())
def test_every_formula_that_is_printed_gives_its_flops(
    shape: Shape, batch_size: int, data: st.DataObject
) -> None:
    seq = data.draw(st.integers(1, shape.context_length))
    rows = forward_ledger(shape, batch_size=batch_size, sequence_length=seq)
    for row in rows:
        assert read(row.formula, shape, B=batch_size, S=seq, T=batch_size * seq) == row.flops
    assert math.fsum(row.share for row in rows) == pytest.approx(1, rel=1e-12)


@given(random_shapes(), st.integers(1, 64))
def test_the_batch_and_the_layers_cost_in_proportion(shape: Shape, batch_size: int) -> None:
    assert forward_flops(shape, batch_size=batch_size) == batch_size * forward_flops(shape)
    head = forward_ledger(shape)[-1].flops
    doubled = forward_flops(replace(shape, num_layers=2 * shape.num_layers))
    assert doubled - head == 2 * (forward_flops(shape) - head)


@given(random_shapes(), st.integers(2, 16))
def test_attention_grows_with_the_square_of_the_sequence_and_all_else_in_proportion(
    shape: Shape, factor: int
) -> None:
    longer = replace(shape, context_length=factor * shape.context_length)
    for short, long in zip(forward_ledger(shape), forward_ledger(longer), strict=True):
        quadratic = short.operation in ("scores Q Kᵀ", "weighted values A V")
        assert long.flops == short.flops * (factor**2 if quadratic else factor)


@given(random_shapes())
def test_norms_positions_ties_and_learned_mixes_multiply_no_matrices(shape: Shape) -> None:
    other = replace(
        shape,
        norm="none",
        position="none",
        tied_embeddings=True,
        qk_norm=not shape.qk_norm,
        value_residual=not shape.value_residual,
        embedding_shortcut=not shape.embedding_shortcut,
    )
    assert forward_flops(other) == forward_flops(shape)
    without_groups = replace(shape, num_kv_heads=None, head_dim=None)
    assert forward_flops(replace(without_groups, position="none", num_heads=1)) == forward_flops(
        without_groups
    )


@given(random_shapes())
def test_groups_save_on_keys_and_values_alone_and_in_proportion(shape: Shape) -> None:
    full = replace(shape, num_kv_heads=None)
    group = full.num_heads // shape.kv_heads
    for whole, shared in zip(parameter_ledger(full), parameter_ledger(shape), strict=True):
        assert whole.num_parameters == shared.num_parameters * (group if "K, V" in shared.component else 1)
    for before, after in zip(forward_ledger(full), forward_ledger(shape), strict=True):
        assert before.flops == after.flops * (group if after.operation == "K, V projections" else 1)


@given(random_shapes(), st.integers(1, 64), st.data())
def test_every_formula_of_a_training_step_gives_its_flops(
    shape: Shape, batch_size: int, data: st.DataObject
) -> None:
    seq = data.draw(st.integers(1, shape.context_length))
    rows = training_ledger(
        shape,
        batch_size=batch_size,
        sequence_length=seq,
        attention=data.draw(st.sampled_from(get_args(Attention))),
        checkpointing=data.draw(st.booleans()),
    )
    sizes = {"B": batch_size, "S": seq, "T": batch_size * seq, "P": num_parameters(shape)}
    for row in rows:
        assert read(row.formula, shape, **sizes) == row.flops
    assert math.fsum(row.share for row in rows) == pytest.approx(1, rel=1e-12)


@given(random_shapes(), st.integers(1, 64), st.data())
def test_every_formula_of_a_pass_with_a_cache_gives_its_flops(
    shape: Shape, batch_size: int, data: st.DataObject
) -> None:
    new = data.draw(st.integers(1, shape.context_length))
    cached = data.draw(st.integers(0, shape.context_length - new))
    scored = data.draw(st.integers(0, new))
    rows = cached_ledger(
        shape, batch_size=batch_size, new_tokens=new, cached_tokens=cached, scored_tokens=scored
    )
    sizes = {"B": batch_size, "S": new, "T": batch_size * new, "N": new + cached, "R": scored}
    for row in rows:
        assert read(row.formula, shape, **sizes) == row.flops
    if cached == 0 and scored == new:
        whole = forward_flops(shape, batch_size=batch_size, sequence_length=new)
        assert sum(row.flops for row in rows) == whole


def test_a_training_step_of_a_tiny_model_by_hand() -> None:
    # 1,344 FLOPs forward (above), of which 72 are scores, 192 W2, 240 the head, 252 parameters.
    def phases(**choices: Any) -> dict[str, int]:
        rows = training_ledger(tiny(), sequence_length=3, **choices)
        return {row.phase: sum(r.flops for r in rows if r.phase == row.phase) for row in rows}

    plain = {"forward": 1_344, "backward": 2_688, "optimizer": 14 * 252}
    assert phases() == plain
    assert phases(attention="fused") == plain | {"backward": 2_688 + 72}
    assert phases(checkpointing=True) == plain | {"recompute": 1_344 - 192 - 240}
    with_post_norm = training_ledger(tiny(norm="post"), sequence_length=3, checkpointing=True)
    assert sum(row.flops for row in with_post_norm if row.phase == "recompute") == 1_344 - 240


def test_a_cache_of_keys_and_values_by_hand() -> None:
    # 2 layers, 3 sequences, 5 tokens, 1 head of width 2, keys and values, 4 bytes.
    shape = tiny(num_layers=2, num_kv_heads=1)
    assert kv_cache_bytes(shape, batch_size=3, num_tokens=5) == 2 * 3 * 5 * 1 * 2 * 2 * 4
    assert kv_cache_bytes(shape, bytes_per_number=2) == 2 * 1 * 16 * 1 * 2 * 2 * 2  # room for the context


def test_generation_is_a_pass_over_the_prompt_and_one_a_token() -> None:
    passes = [
        cached_ledger(tiny(), batch_size=2, new_tokens=4, scored_tokens=0),
        *(decode_ledger(tiny(), batch_size=2, cached_tokens=cached) for cached in (4, 5, 6)),
    ]
    expected = sum(row.flops for rows in passes for row in rows)
    assert generation_flops(tiny(), batch_size=2, prompt_tokens=5, new_tokens=3) == expected
    one = generation_flops(tiny(), prompt_tokens=1, new_tokens=1)
    assert one == forward_flops(tiny(), sequence_length=1)


def test_a_cache_that_can_not_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must not exceed context_length, got 16 cached \+ 1 new and 16"):
        decode_ledger(tiny(), cached_tokens=16)
    with pytest.raises(ValueError, match="scored_tokens must not exceed new_tokens, got 3 and 2"):
        cached_ledger(tiny(), new_tokens=2, scored_tokens=3)
    with pytest.raises(ValueError, match="cached_tokens must be at least 0, got -1"):
        decode_ledger(tiny(), cached_tokens=-1)
    with pytest.raises(ValueError, match="prompt_tokens must be at least 1, got 0"):
        generation_flops(tiny(), prompt_tokens=0, new_tokens=1)
    with pytest.raises(ValueError, match="attention must be one of 'explicit', 'fused', got 'flash'"):
        training_ledger(tiny(), attention="flash")  # type: ignore[arg-type]


@given(random_shapes(), st.integers(1, 8))
def test_training_costs_three_forward_passes(shape: Shape, batch_size: int) -> None:
    assert training_flops(shape, batch_size=batch_size) == 3 * forward_flops(shape, batch_size=batch_size)


def test_wrong_batches_and_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        forward_flops(tiny(), batch_size=0)
    with pytest.raises(TypeError, match=r"batch_size must be an int, got 2\.0 of type float"):
        forward_flops(tiny(), batch_size=2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sequence_length must be at least 1, got 0"):
        training_flops(tiny(), sequence_length=0)
    with pytest.raises(
        ValueError,
        match=r"must not exceed context_length, got 17 and 16; ask about replace\(shape, context_length=17\)",
    ):
        forward_ledger(tiny(), sequence_length=17)
