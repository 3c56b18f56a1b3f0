import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from hornbook.accounting import (
    GPT2_XL,
    HARDWARE,
    TINYSTORIES,
    find_hardware,
    forward_flops,
    forward_ledger,
    num_parameters,
    roofline,
    training_flops,
    training_ledger,
    training_time,
    utilization,
)

A100 = find_hardware("a100")


def test_the_assignments_run_on_one_a100() -> None:
    how: dict[str, Any] = {"hardware": A100, "dtype": "fp32", "mfu": 0.5}
    by_steps = training_time(GPT2_XL, num_steps=400_000, batch_size=1_024, **how)
    assert by_steps.seconds == pytest.approx(568_819_274, abs=1)
    assert by_steps.num_tokens == 400_000 * 1_024 * 1_024
    by_tokens = training_time(GPT2_XL, num_tokens=by_steps.num_tokens, **how)
    assert (by_tokens.seconds, by_tokens.num_steps) == (by_steps.seconds, None)
    eight = training_time(
        GPT2_XL, num_tokens=by_steps.num_tokens, num_devices=8, cost_per_device_hour=2.0, **how
    )
    assert eight.seconds == pytest.approx(by_steps.seconds / 8)
    assert eight.cost == pytest.approx(2.0 * by_steps.seconds / 3_600)  # eight for an eighth of the time


def test_units_that_do_not_fit_are_refused() -> None:
    how: dict[str, Any] = {"hardware": A100, "dtype": "fp32", "mfu": 0.5}
    wrongs: tuple[dict[str, Any], ...] = (
        {},
        {"num_steps": 10},
        {"batch_size": 10},
        {"num_tokens": 1, "num_steps": 1, "batch_size": 1},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match="give either num_tokens, or num_steps and batch_size"):
            training_time(GPT2_XL, **wrong, **how)
    with pytest.raises(ValueError, match="mfu must be more than 0 and at most 1, got 50"):
        training_time(GPT2_XL, num_tokens=1, **(how | {"mfu": 50}))
    with pytest.raises(ValueError, match="A100 SXM 80 GB has no peak for 'fp8', it has fp32, tf32, bf16"):
        training_time(GPT2_XL, num_tokens=1, **(how | {"dtype": "fp8"}))
    with pytest.raises(ValueError, match="unknown hardware 'H1000': did you mean 'h100'"):
        find_hardware("H1000")


def test_every_device_names_its_source() -> None:
    assert {"a100", "h100", "h200", "b200", "l4", "rtx4090"} <= set(HARDWARE)
    for device in HARDWARE.values():
        assert len(device.source) > 10 and device.peak("bf16") >= device.peak("fp32") > 1e12


def test_conventions_of_utilization_stand_side_by_side() -> None:
    speed: dict[str, Any] = {"tokens_per_second": 1e4, "peak_flops_per_second": 312e12}
    rows = {
        row.convention: row
        for row in utilization(
            GPT2_XL, tokens_per_second=1e4, peak_flops_per_second=312e12, checkpointing=True
        )
    }
    ledger, peak = training_flops(GPT2_XL) / 1_024, 312e12
    assert rows["MFU, ledger"].utilization == pytest.approx(1e4 * ledger / peak)
    scores = 3 * 4 * 48 * 1_024 * 1_600
    assert rows["MFU, causal half"].flops_per_token == pytest.approx(ledger - scores / 2)
    assert rows["MFU, 6N"].flops_per_token == 6 * num_parameters(GPT2_XL)
    assert rows["MFU, PaLM"].flops_per_token == 6 * num_parameters(GPT2_XL) + 12 * 48 * 1_600 * 1_024
    # A forward pass again but for W2 and the head, and the scores once more.
    again = forward_flops(GPT2_XL) - 2 * 48 * 1_024 * 1_600 * 6_400 - 2 * 1_024 * 1_600 * 50_257
    kernel = 2 * 48 * 1_024**2 * 1_600
    assert rows["HFU"].flops_per_token == pytest.approx(ledger + (again + kernel) / 1_024)
    two = utilization(GPT2_XL, **speed, num_devices=2)
    assert two[0].utilization == rows["MFU, ledger"].utilization / 2
    with pytest.raises(ValueError, match="tokens_per_second must be more than 0"):
        utilization(GPT2_XL, tokens_per_second=0, peak_flops_per_second=1e12)


def test_half_of_the_scores_is_the_difference_of_the_causal_ledgers() -> None:
    whole, half = (training_ledger(GPT2_XL, attention="fused", causal_half=half) for half in (False, True))
    for full, less in zip(whole, half, strict=True):
        scored = full.operation in ("scores Q Kᵀ", "weighted values A V")
        assert full.flops == less.flops * (2 if scored else 1)
    assert sum(row.flops for row in forward_ledger(GPT2_XL, causal_half=True)) == (
        forward_flops(GPT2_XL) - 2 * 48 * 1_024**2 * 1_600
    )
    with pytest.raises(TypeError, match="causal_half must be True or False, got 1"):
        forward_ledger(GPT2_XL, causal_half=1)  # type: ignore[arg-type]


def test_a_roofline_by_hand() -> None:
    rows = {row.operation: row for row in roofline(TINYSTORIES, hardware=A100, dtype="bf16", batch_size=8)}
    tokens, d = 8 * 256, 512
    row = rows["Q projection"]
    assert (row.flops, row.num_bytes) == (2 * tokens * d * d, 2 * (2 * tokens * d + d * d))
    # 312 TFLOP/s over 2,039 GB/s: 153 FLOPs a byte are needed.
    assert row.intensity == pytest.approx(227.6, abs=0.05) and row.bound == "compute"
    assert rows["explicit scores Q Kᵀ"].bound == "bandwidth"
    # One token a sequence: each weight is read for few products.
    decode = roofline(TINYSTORIES, hardware=A100, dtype="bf16", batch_size=8, sequence_length=1)
    assert all(row.bound == "bandwidth" for row in decode)
    wide = replace(TINYSTORIES, d_model=8_192, num_heads=64)
    rows = {row.operation: row for row in roofline(wide, hardware=A100, dtype="bf16", batch_size=64)}
    assert rows["Q projection"].bound == "compute"


def test_the_import_brings_in_nothing_from_elsewhere() -> None:
    code = (
        "import sys; before = set(sys.modules); import hornbook.accounting; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert output.stdout.strip() == "['hornbook']"
