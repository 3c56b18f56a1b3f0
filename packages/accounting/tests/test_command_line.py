import subprocess
import sys
from dataclasses import fields

import pytest

from hornbook.accounting import Shape
from hornbook.accounting.__main__ import main, make_parser

SIZES = [
    *("--vocab-size", "10", "--context-length", "16", "--num-layers", "1"),
    *("--d-model", "4", "--num-heads", "2", "--d-ff", "8"),
]


def printed(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    main(flags)
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    return capsys.readouterr().err


def test_a_preset_prints_both_ledgers_and_their_sums(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--preset", "tinystories")
    for figure in (
        "22,696,448",
        "22.7 M parameters",
        "12.5 M without",
        "9,533,652,992",
        "forward 9.53 GFLOP",
    ):
        assert figure in text
    assert "steps" not in text


def test_flags_change_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--preset", "gpt2-xl", "--tied-embeddings", "--d-ff", "4288", "--ffn", "silu")
    assert "tied_embeddings=True" in text and "d_ff=4288" in text and "feed-forward W1, W2" in text


def test_every_switch_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for field in fields(Shape):
        assert f"--{field.name.replace('_', '-')}" in make_parser().format_help()
    switches = ["--qk-norm", "--value-residual", "--embedding-shortcut", "--num-kv-heads", "4"]
    text = printed(capsys, "--preset", "tinystories", "--ffn", "relu2", *switches)
    for figure in ("norms of Q, K", "value residual", "embedding shortcut", "num_kv_heads=4", "18,371,342"):
        assert figure in text
    assert printed(capsys, "--preset", "tinystories", "--no-qk-norm") == printed(
        capsys, "--preset", "tinystories"
    )


def test_all_sizes_make_a_shape_without_preset(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *SIZES, "--sequence-length", "3")
    assert "252" in text and "1,344" in text


def test_a_run_has_tokens_flops_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["--batch-size", "1024", "--num-steps", "400000"]
    device = ["--peak-flops-per-second", "19.5e12", "--mfu", "0.5"]
    text = printed(capsys, "--preset", "gpt2-xl", *steps, *device)
    assert text.splitlines()[-1] == "400,000 steps: 419 B tokens, 5.55 ZFLOP, 18 years"


def test_wrong_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give also --vocab-size, --context-length, --num-layers" in refusal(capsys, "--d-model", "4")
    assert "give also --d-ff\n" in refusal(capsys, *SIZES[:-2])
    assert "must be a multiple of num_heads" in refusal(capsys, *SIZES, "--num-heads", "3")
    assert "must be a multiple of num_kv_heads" in refusal(capsys, *SIZES, "--num-kv-heads", "3")
    assert "d_ff must be at least 1, got 0" in refusal(capsys, "--preset", "tinystories", "--d-ff", "0")
    assert "num_steps must be at least 1, got 0" in refusal(capsys, *SIZES, "--num-steps", "0")
    assert "go together" in refusal(capsys, *SIZES, "--mfu", "0.4")
    assert "must not exceed context_length" in refusal(capsys, *SIZES, "--sequence-length", "17")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "hornbook.accounting", "--preset", "gpt2-xl"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "2,127,057,600" in result.stdout and "4,513,336,524,800" in result.stdout
