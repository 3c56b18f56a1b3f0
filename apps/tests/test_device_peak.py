"""What MFU is a share of: a datasheet's peak on a GPU that is known, else what was measured."""

import pytest
import torch

from hornbook.accounting import HARDWARE, hardware_named
from hornbook.trainer import LoopConfig, Row
from recipes import console
from recipes.device import peak_flops_per_second

CUDA = torch.device("cuda")


def test_a_known_gpu_has_its_datasheets_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert peak_flops_per_second(CUDA, "bf16", 6e14) == (989.5e12, "of the H100 SXM's datasheet, bf16")
    assert peak_flops_per_second(CUDA, "fp16", 6e14)[0] == 989.5e12
    assert peak_flops_per_second(CUDA, "fp32", 6e14) == (494.5e12, "of the H100 SXM's datasheet, tf32")


def test_any_other_device_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 PCIe")
    assert peak_flops_per_second(CUDA, "bf16", 6e14) == (6e14, "measured here")
    assert peak_flops_per_second(torch.device("cpu"), "fp32", 5e11) == (5e11, "measured here")


def test_no_two_devices_have_one_name() -> None:
    names = [name for device in HARDWARE.values() for name in device.cuda_names]
    assert len(names) == len(set(names)) == 6
    assert all(hardware_named(name) in HARDWARE.values() for name in names)


def test_the_console_shows_speed_and_mfu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_LINE_EVERY_SECONDS", -1.0)
    sink = console.ConsoleSink(LoopConfig(num_steps=10, eval_interval_steps=5, checkpoint_interval_steps=5))
    row = Row(
        step=1,
        train_loss=2.0,
        val_loss=None,
        lr=1e-3,
        wallclock_time=1.0,
        tokens_processed=8,
        grad_norm=1.0,
        tokens_per_second=1_234.0,
        mfu=0.4321,
        bits_per_byte=None,
        skipped_steps=0,
        flops_per_second=1.5e14,
    )
    sink.log(row)
    assert "loss 2.000  1,234 tokens/s  150 TFLOP/s  MFU 43.2%" in capsys.readouterr().out
