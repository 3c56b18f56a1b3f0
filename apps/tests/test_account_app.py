import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recipes.account import account
from recipes.accounting_plots import SIZES, shares

APP = Path(__file__).parents[1] / "account.py"


def test_tables_and_plots_come_from_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--preset", "tinystories", "--plots", str(tmp_path / "plots"), "--batch-sizes", "1", "2"]
    assert account("", flags) == 0
    assert "22,696,448" in capsys.readouterr().out
    names = {
        f"{stem}.{end}"
        for stem in ("flops_by_size", "flops_by_context", "memory_by_batch")
        for end in ("png", "svg")
    }
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names
    before = (tmp_path / "plots" / "memory_by_batch.png").read_bytes()
    account("", flags)
    assert (tmp_path / "plots" / "memory_by_batch.png").read_bytes() == before


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert account("", ["--preset=tinystories", f"--plots={tmp_path / 'p'}", "--measure", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "d_model=512" in said and "would measure" in said and str(tmp_path / "p") in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="--plots needs a --preset"):
        account("", ["--plots=p", "--dry-run"])


def test_what_is_drawn_is_all_of_the_flops() -> None:
    for shape in SIZES.values():
        assert sum(shares(shape)) == pytest.approx(1)


def test_a_machine_is_measured_for_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--preset", "tinystories", "--measure", "--dtype", "fp32", "--mfu", "0.5", "--num-steps", "10"]
    assert account("", flags) == 0
    out = capsys.readouterr()
    assert "matrix products run at" in out.out + out.err and "10 steps: 2.56 k tokens" in out.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to calibrate")
def test_calibration_without_a_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match="this machine has no CUDA device"):
        account("", ["--calibrate"])


def test_wrong_flags_are_one_line_and_code_2() -> None:
    for flags, message in (
        (["--preset", "gpt2-xl", "--budget", "24GB"], "10.4 GB more than the budget"),
        (["--preset", "gpt2-xl", "--d-model", "33"], "d_model must be a multiple of num_heads"),
    ):
        run = subprocess.run([sys.executable, str(APP), *flags], capture_output=True, encoding="utf-8")
        assert run.returncode == 2 and message in run.stderr and len(run.stderr.splitlines()) == 1
