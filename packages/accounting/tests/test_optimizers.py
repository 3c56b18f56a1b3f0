"""What an optimizer computes and keeps, by hand."""

from dataclasses import replace

import pytest

from hornbook.accounting import (
    GPT2_XL,
    Shape,
    StepSettings,
    num_parameters,
    training_ledger,
    training_memory,
)

SMALL = Shape(vocab_size=10, context_length=16, num_layers=3, d_model=8, num_heads=4, num_kv_heads=2, d_ff=12)


def test_the_products_of_muon_by_hand() -> None:
    rows = {
        row.operation: row for row in training_ledger(SMALL, optimizer="muon") if row.phase == "optimizer"
    }
    # X Xᵀ and its product with X take 2·s²·l each, (X Xᵀ)² takes 2·s³; five times, in three layers.
    five, layers = 5, 3
    square = 4 * 8 * 8 * 8 + 2 * 8**3
    narrow = 4 * 4 * 4 * 8 + 2 * 4**3  # K and V are 4 x 8
    wide = 4 * 8 * 8 * 12 + 2 * 8**3
    assert rows["Newton-Schulz Q"].flops == rows["Newton-Schulz O"].flops == five * layers * square
    assert rows["Newton-Schulz K, V"].flops == 2 * five * layers * narrow
    assert rows["Newton-Schulz feed-forward up"].flops == 2 * five * layers * wide
    assert rows["Newton-Schulz feed-forward down"].flops == five * layers * wide
    hidden = layers * (2 * 8 * 8 + 2 * 4 * 8 + 3 * 8 * 12)
    assert rows["Muon, number by number"].flops == 13 * hidden
    assert rows["AdamW"].flops == 14 * (num_parameters(SMALL) - hidden)


def test_a_narrow_feed_forward_part_is_multiplied_by_its_shorter_side() -> None:
    ledger = training_ledger(replace(SMALL, d_ff=4), optimizer="muon")
    (row,) = (row for row in ledger if row.operation == "Newton-Schulz feed-forward down")
    assert row.formula == "20·L·f²·d + 10·L·f³"
    assert row.flops == 5 * 3 * (4 * 4 * 4 * 8 + 2 * 4**3)


def test_muon_keeps_one_number_where_adamw_keeps_two() -> None:
    adamw, muon = (
        {row.component: row.num_bytes for row in training_memory(SMALL, StepSettings(optimizer=name)).static}
        for name in ("adamw", "muon")
    )
    assert adamw["AdamW"] == 8 * num_parameters(SMALL)
    assert muon["AdamW"] + 2 * muon["Muon"] == adamw["AdamW"]


def test_the_optimizer_of_adamw_takes_a_slice_of_its_largest_matrix() -> None:
    one = training_memory(SMALL)
    assert one.moments["optimizer"].transients == 4 * 12 * 8  # d_ff x d_model is the largest
    wide = training_memory(replace(SMALL, vocab_size=100_000))
    assert wide.moments["optimizer"].transients == 4 * 2**18  # 32,768 rows of 8


def test_a_step_of_muon_has_its_peak_in_the_update_where_the_batch_is_small() -> None:
    memory = training_memory(GPT2_XL, StepSettings(optimizer="muon"))
    moment = memory.moments["optimizer"]
    assert memory.peak_phase == "optimizer" and memory.peak_bytes == sum(moment)
    # W1 and W3 of all layers ahead and normalized, the directions of Q, K, V and O, and one matrix's squares.
    assert moment.transients > 4 * 48 * (2 * 2 * 1_600 * 6_400 + 4 * 1_600 * 1_600)
    assert moment.gradients == 4 * num_parameters(GPT2_XL) and moment.saved == 0


def test_an_unknown_optimizer_is_refused() -> None:
    message = "optimizer must be one of 'adamw', 'muon', got 'sgd'"
    with pytest.raises(ValueError, match=message):
        training_ledger(SMALL, optimizer="sgd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        StepSettings(optimizer="sgd")  # type: ignore[arg-type]
