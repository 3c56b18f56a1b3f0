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


def test_a_shape_without_memory_has_plots_of_flops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert account("", ["--preset=released-gpt2-small", f"--plots={tmp_path}"]) == 0
    out = capsys.readouterr()
    assert "no memory_by_batch: hornbook.nn has no biases=True" in out.out + out.err
    assert {path.stem for path in tmp_path.iterdir()} == {"flops_by_size", "flops_by_context"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset=gpt2-xl", "--plots=p", "--batch-sizes", "1", "-2"], "at least 1, got -2"),
        (["--preset=gpt2-xl", "--measure", "--dtype=fp8", "--mfu=0.5"], "fp32 or bf16, got --dtype fp8"),
        (["--preset=gpt2-xl", "--measure", "--hardware=h100", "--mfu=0.5"], "without --hardware"),
    ],
)
def test_what_fails_later_is_refused_before_a_table(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        account("", flags)
    assert capsys.readouterr().out == ""


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


def test_calibration_adds_what_is_outside_of_the_allocator_and_workspaces_within(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a GPU of made-up numbers: nothing here was run on a real one."""
    gb = 10**9
    in_use = {"is_available": True, "memory_reserved": 5 * gb, "memory_allocated": 3 * gb}
    for name, value in {**in_use, "mem_get_info": (70 * gb, 80 * gb)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr("recipes.account._multiply_on_cuda", list)
    assert account("", ["--calibrate"]) == 0
    out = capsys.readouterr()
    assert "--overhead 8000000000B" in out.out + out.err  # 10 in use - 5 reserved + 3 that are no tensor's
    tensor = torch.empty(2**28, device="meta")  # float32: 2^30 bytes
    monkeypatch.setattr("recipes.account._multiply_on_cuda", lambda: [tensor])
    assert account("", ["--calibrate"]) == 0
    out = capsys.readouterr()
    assert f"--overhead {8 * gb - 2**30}B" in out.out + out.err


def test_a_calibrated_device_can_be_given_as_it_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    account("", ["--preset=tinystories", "--table=memory", "--overhead=8000000000B", "--format=json"])
    assert '"overhead_bytes": 8000000000' in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to calibrate")
def test_calibration_of_a_gpu_is_of_the_size_of_a_context(capsys: pytest.CaptureFixture[str]) -> None:
    assert account("", ["--calibrate"]) == 0
    out = capsys.readouterr()
    overhead = int((out.out + out.err).split("--overhead ")[1].split("B")[0])
    assert 50 * 10**6 < overhead < torch.cuda.get_device_properties(0).total_memory


def test_wrong_flags_are_one_line_and_code_2() -> None:
    for flags, message in (
        (["--preset", "gpt2-xl", "--budget", "24GB"], "10 GB more than the budget"),
        (["--preset", "gpt2-xl", "--d-model", "33"], "d_model must be a multiple of num_heads"),
    ):
        run = subprocess.run([sys.executable, str(APP), *flags], capture_output=True, encoding="utf-8")
        assert run.returncode == 2 and message in run.stderr and len(run.stderr.splitlines()) == 1
