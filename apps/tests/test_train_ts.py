import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hornbook.bpe import Tokenizer
from hornbook.trainer import COLUMNS, TIMED_COLUMNS, read_rows
from tiny import SMALL, arguments, run_app, train, write_texts

APPS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_texts(tmp_path_factory.mktemp("texts"))


def same_run(first: Path, second: Path) -> None:
    """Assert that two runs ended with the same bits: weights, moments, random generators, loss, stories."""
    for name in ("model.safetensors", "training.safetensors"):
        a, b = (load_file(run / "checkpoints" / "step-00000012" / name) for run in (first, second))
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[key], b[key]) for key in a)
    rows = [
        [
            [value for name, value in zip(COLUMNS, row, strict=True) if name not in TIMED_COLUMNS]
            for row in read_rows(run / "metrics.csv")
        ]
        for run in (first, second)
    ]
    assert rows[0] == rows[1]
    results = [json.loads((run / "results.json").read_text()) for run in (first, second)]
    assert results[0]["val_loss"] == results[1]["val_loss"]
    assert (first / "samples.txt").read_text() == (second / "samples.txt").read_text()


def test_a_run_ends_with_everything_it_promises(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, *texts)) == 0
    said = capsys.readouterr().out
    assert said.startswith("text: train.txt\npreset: demo on cpu\n")
    assert "nats per token, perplexity" in said
    assert " held-out tokens of valid.txt (" in said
    assert "bits per byte" in said
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    if Path("/proc/self/clear_refs").exists():  # else the most memory that it took can't be told
        assert "memory.json" in names
    assert names - {"memory.json"} == {
        ".lock", "checkpoints", "config.json", "curve.png", "curve.svg",
        "metrics.csv", "metrics.jsonl", "results.json", "samples.txt", "tokenizer",
    }  # fmt: skip
    assert (
        (run / "metrics.csv")
        .read_text()
        .startswith("step,train_loss,val_loss,lr,wallclock_time,tokens_processed,")
    )
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "train.txt" in (run / "curve.svg").read_text()
    results = json.loads((run / "results.json").read_text())
    assert results["perplexity"] == pytest.approx(np.exp(results["val_loss"]))
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["experiment"]["model"]["d_model"] == 16


def test_the_same_command_again_trains_no_more_and_says_the_same(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(tmp_path, *texts)
    assert train(*words) == 0
    first = capsys.readouterr().out
    rows = (tmp_path / "run" / "metrics.csv").read_bytes()
    assert train(*words) == 0
    second = capsys.readouterr().out
    assert "this run is finished" in second
    assert "training the tokenizer" not in second
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == rows
    ending = first[first.index("\n\nvalidation loss ") :]
    assert second.endswith(ending)


def test_a_run_killed_after_its_last_step_is_finished_without_training(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(tmp_path, *texts)
    assert train(*words) == 0
    first = capsys.readouterr().out
    (tmp_path / "run" / "results.json").unlink()
    assert train(*words) == 0
    second = capsys.readouterr().out
    assert "going on from the checkpoint at step 12 of 12" in second
    assert (
        second[second.index("\n\nvalidation") :].splitlines()[2:4]
        == first[first.index("\n\nvalidation") :].splitlines()[2:4]
    )


@pytest.mark.parametrize("damaged", ["checkpoints/step-00000012/training.safetensors", "results.json"])
def test_damage_to_a_finished_run_is_noticed_and_the_same_command_mends_it(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str], damaged: str
) -> None:
    words = arguments(tmp_path, *texts)
    assert train(*words) == 0
    run, whole = tmp_path / "run", tmp_path / "whole"
    shutil.copytree(run, whole)
    raw = bytearray((run / damaged).read_bytes())
    raw[len(raw) // 2] ^= 128
    (run / damaged).write_bytes(raw)
    capsys.readouterr()
    assert train(*words) == 0
    said = capsys.readouterr().out
    assert "this run was finished, but not all of it is as it was written: " in said
    assert damaged in said or damaged == "results.json"
    same_run(run, whole)
    assert train(*words) == 0
    assert "this run is finished" in capsys.readouterr().out


def test_a_tokenizer_that_is_not_the_texts_is_refused_with_both_fingerprints(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(tmp_path, *texts)
    assert train(*words) == 0
    saved = tmp_path / "run" / "tokenizer"
    text_s = Tokenizer.load(saved).fingerprint
    other = Tokenizer({i: bytes([i]) for i in range(256)}, [], [])
    shutil.rmtree(saved)
    other.save(saved)
    (tmp_path / "run" / "results.json").unlink()
    capsys.readouterr()
    assert train(*words) == 2
    said = capsys.readouterr().err
    assert f"tokenizer has the fingerprint {other.fingerprint}, this text's has {text_s}" in said


def test_ctrl_c_at_a_third_and_the_same_command_again_end_with_the_same_bits(
    tmp_path: Path, texts: tuple[Path, Path]
) -> None:
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
    assert train(*arguments(tmp_path / "straight", *texts)) == 0
    words = arguments(tmp_path / "stopped", *texts)
    code, said = run_app(*words, interrupt_at="step 4:")
    assert code == 130
    assert said[-1] == "to go on, give the same command again\n"
    assert not (tmp_path / "stopped" / "run" / "results.json").exists()
    assert train(*words) == 0
    same_run(tmp_path / "straight" / "run", tmp_path / "stopped" / "run")


def test_with_no_text_the_sample_is_generated_and_said_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(*SMALL, "--sample-megabytes=1") == 0
    assert capsys.readouterr().out.startswith("text: generated sample, not TinyStories\n")
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("generated-sample-demo-")
    assert "generated sample, not TinyStories" in (run / "curve.svg").read_text()
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["text"]["name"] == "generated sample, not TinyStories"


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--preset=cpu", "--device=cpu", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "22,696,448 parameters" in said
    assert "40,960,000 tokens" in said
    assert list(tmp_path.iterdir()) == []


def test_the_presets_are_the_assignments(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert train("--preset=gpu", "--device=cpu", "--dry-run", f"--out={tmp_path / 'r'}") == 0
    said = capsys.readouterr().out
    for part in (
        "327,680,000 tokens",
        "batch_size 64",
        "warmup_steps 500",
        "vocab_size 10000, context_length 256, num_layers 4, d_model 512, num_heads 16, d_ff 1344",
        "rope_theta 10000.0",
    ):
        assert part in said


def test_a_diverging_run_ends_with_its_own_code_and_keeps_its_curve(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(tmp_path, *texts, "--max-lr=1e30", "--min-lr=0", "--max-grad-norm=inf")
    assert train(*words) == 3
    assert "diverged: step" in capsys.readouterr().err
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) >= 1


def test_bf16_autocast_runs_and_learns(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    assert train(*arguments(tmp_path, *texts, "--precision=bf16")) == 0
    losses = [float(row[1]) for row in read_rows(tmp_path / "run" / "metrics.csv")]
    assert losses[-1] < losses[0]


def test_every_way_to_train_goes_through_to_a_story(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    more = [
        "--micro-batch-size=1",
        "--shuffle=epochs",
        "--precision=fp16",
        "--ema-decay=0.9",
        "--optimizer=muon",
        "--schedule=trapezoid",
        "--decay-fraction=0.5",
        "--warmup-fraction=0.2",
        "--activation-checkpointing",
        "--patience=9",
        "--keep-best",
        "--max-skipped-steps=2",
        "--max-tokens=320",
        "--tensorboard",
    ]
    assert train(*arguments(tmp_path, *texts, *more)) == 0
    run = tmp_path / "run"
    rows = read_rows(run / "metrics.csv")
    assert [row[0] for row in rows] == [str(step) for step in range(1, 11)]  # 320 tokens are 10 steps of 32
    rates = [float(row[COLUMNS.index("lr")]) for row in rows]
    assert rates[:2] == pytest.approx([3e-3, 6e-3])  # two steps of warmup, to the preset's rate
    assert rates[5] == pytest.approx(6e-3)
    assert rates[-1] == pytest.approx(3e-4)
    evaluated = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in evaluated if "evaluation" in line] == [4, 8, 10]
    assert len(list((run / "tensorboard").iterdir())) == 1
    recorded = json.loads((run / "checkpoints" / "step-00000010" / "state.json").read_text())
    assert recorded["run"]["experiment"]["ema_decay"] == 0.9
    assert recorded["run"].keys() == {"experiment", "text", "tokenizer", "tokens"}
    assert {"hornbook", "commit", "torch"} <= recorded["about"].keys()
    # Evaluated and told by the average, also when that is all that is left to do.
    first = json.loads((run / "results.json").read_text())
    (run / "results.json").unlink()
    assert train(*arguments(tmp_path, *texts, *more)) == 0
    second = json.loads((run / "results.json").read_text())
    assert (first["val_loss"], first["sample"]) == (second["val_loss"], second["sample"])


def test_a_run_by_the_clock_ends_when_its_time_is_up(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    # An evaluation between a step and its row would put a later time there than the run was ended by.
    more = ["--num-steps=None", "--max-seconds=0.5", "--warmup-fraction=0.1", "--eval-interval-steps=1000000"]
    assert train(*arguments(tmp_path, *texts, *more)) == 0
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    column = COLUMNS.index("wallclock_time")
    assert float(rows[-1][column]) >= 0.5 > float(rows[-2][column])
    assert float(rows[-1][COLUMNS.index("lr")]) < float(rows[len(rows) // 2][COLUMNS.index("lr")])


def test_generate_streams_from_a_run(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    assert train(*arguments(tmp_path, *texts)) == 0
    command = [sys.executable, str(APPS / "generate.py"), "--run", str(tmp_path / "run"), "--max-tokens", "9"]
    one, two, other = (
        subprocess.run(
            [*command, "--prompt", "Once upon a time", "--seed", seed],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "1", "2")
    )
    assert one.startswith("Once upon a time")
    assert len(one) > len("Once upon a time\n")
    assert one == two != other
    bad = subprocess.run([*command[:3], str(tmp_path / "no")], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stderr.startswith(f"error: {tmp_path / 'no'} is not a run")
    assert len(bad.stderr.splitlines()) == 1


def test_a_text_too_small_for_the_vocabulary_gives_a_smaller_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text(f"{name}: the cat sat on the mat.<|endoftext|>" * 40)
    words = arguments(tmp_path, tmp_path / "train.txt", tmp_path / "valid.txt", "--vocab-size=4096")
    assert train(*words) == 0
    assert "this text gives no more, and the model takes as many" in capsys.readouterr().out
    command = [sys.executable, str(APPS / "generate.py"), "--run", str(tmp_path / "run"), "--max-tokens=99"]
    assert subprocess.run([*command, "--temperature=5"], check=False).returncode == 0


def test_generation_falls_back_from_a_damaged_checkpoint(
    tmp_path: Path, texts: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, *texts)) == 0
    newest = tmp_path / "run" / "checkpoints" / "step-00000012" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    command = [sys.executable, str(APPS / "generate.py"), "--run", str(tmp_path / "run"), "--max-tokens=3"]
    assert subprocess.run(command, check=False).returncode == 0
    assert f"checkpoint not used: {newest}" in capfd.readouterr().err
    for config in ("[]", "{}", "{"):
        (tmp_path / "run" / "config.json").write_text(config)
        assert subprocess.run(command, check=False).returncode == 2
        assert "config.json is not the configuration of a run" in capfd.readouterr().err


def test_a_run_goes_on_when_nobody_reads_what_it_says(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    words = arguments(tmp_path, *texts)
    with subprocess.Popen(
        [sys.executable, "-u", str(APPS / "train_ts.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "run" / "results.json").exists()
