"""The main job as a user runs it, at its real size: `nox -s e2e`."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tiny import run_app

ROOT = Path(__file__).parents[1]
TINYSTORIES = ROOT.parent / "shared" / "data" / "tinystories"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def test_with_no_argument_it_goes_from_nothing_to_a_story(tmp_path: Path) -> None:
    code, said = run_app(cwd=tmp_path, all_threads=True)
    assert code == 0
    assert said[0] == "text: generated sample, not TinyStories\n"
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "results.json").read_text())["bits_per_byte"] < 1.0
    story = (run / "samples.txt").read_text().split("---")[1]
    assert len(story.split()) > 40


@pytest.mark.skipif(not TINYSTORIES.exists(), reason="needs a sample of TinyStories beside the repository")
def test_real_tinystories_reaches_its_loss_and_survives_ctrl_c_bit_for_bit(tmp_path: Path) -> None:
    words = [
        f"--train-text={TINYSTORIES / 'train.txt'}",
        f"--valid-text={TINYSTORIES / 'valid.txt'}",
        "--preset=demo",
        f"--data-dir={tmp_path / 'data'}",
        "--out=run",
    ]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for directory in (straight, stopped):
        directory.mkdir()
    assert run_app(*words, cwd=straight, all_threads=True)[0] == 0
    results = json.loads((straight / "run" / "results.json").read_text())
    assert results["bits_per_byte"] <= 1.40
    num_steps = results["steps"]

    third = num_steps // 300 * 100  # there is a line to wait for every 100 steps
    code, said = run_app(*words, cwd=stopped, interrupt_at=f"step {third:,}:", all_threads=True)
    assert code == 130
    assert said[-1] == "to go on, give the same command again\n"
    assert run_app(*words, cwd=stopped, all_threads=True)[0] == 0
    again = json.loads((stopped / "run" / "results.json").read_text())
    assert again["val_loss"] == results["val_loss"]
    first, second = (
        load_file(d / "run" / "checkpoints" / f"step-{num_steps:08d}" / "model.safetensors")
        for d in (straight, stopped)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)
