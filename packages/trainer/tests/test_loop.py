import logging
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hornbook.trainer import (
    COLUMNS,
    Checkpoints,
    LoopConfig,
    SharedCheckpoints,
    StopRequest,
    World,
    read_rows,
)
from tiny_run import StopAfter, run_in, same_bits, untimed_rows


@pytest.mark.parametrize("stop_step", [1, 7, 13, 20, 39])
def test_stopping_and_going_on_gives_the_bits_of_a_run_that_never_stopped(
    tmp_path: Path, stop_step: int
) -> None:
    straight, whole = run_in(tmp_path / "straight")
    stop = StopRequest()
    sink = StopAfter(stop, stop_step)
    stopped, _ = run_in(tmp_path / "stopped", stop=stop, sinks=[sink])
    assert (stopped.step, stopped.finished, sink.closed) == (stop_step, False, True)
    resumed, again = run_in(tmp_path / "stopped")
    assert (straight.step, straight.finished) == (resumed.step, resumed.finished) == (40, True)
    assert straight.evaluation == resumed.evaluation is not None
    assert same_bits(whole.state_dict(), again.state_dict())
    assert untimed_rows(tmp_path / "straight") == untimed_rows(tmp_path / "stopped")


@pytest.mark.parametrize("shared", [False, True])
def test_how_long_training_stood_still_is_logged_once_a_save(
    tmp_path: Path, shared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hornbook.trainer")
    own = Checkpoints(tmp_path / "checkpoints", asynchronous=True)
    run_in(tmp_path, num_steps=16, checkpoints=SharedCheckpoints(own, World()) if shared else own)
    assert re.findall(r"of step (\d+): training stood still for \d+\.\d{3} seconds", caplog.text) == [
        "7",
        "14",
        "16",
    ]


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    _, first = run_in(tmp_path)
    before = (tmp_path / "metrics.csv").read_bytes()
    outcome, second = run_in(tmp_path)
    assert (outcome.finished, outcome.evaluation) == (True, None)
    assert same_bits(first.state_dict(), second.state_dict())
    assert (tmp_path / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("kill_step", [3, 8, 29])
def test_a_killed_process_goes_on_from_its_last_checkpoint_to_the_same_bits(
    tmp_path: Path, kill_step: int
) -> None:
    _, whole = run_in(tmp_path / "straight")
    script = Path(__file__).with_name("tiny_run.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "killed")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        for line in process.stdout:
            if int(line) == kill_step:
                process.kill()
                break
            process.stdin.write(b".")
            process.stdin.flush()
    assert process.returncode == -signal.SIGKILL
    _, resumed = run_in(tmp_path / "killed")
    assert same_bits(whole.state_dict(), resumed.state_dict())
    assert untimed_rows(tmp_path / "straight") == untimed_rows(tmp_path / "killed")


def test_speed_is_logged_in_flops_and_as_a_share_of_the_peak(tmp_path: Path) -> None:
    run_in(tmp_path / "told", num_steps=6, flops_per_token=1e6, peak_flops_per_second=1e13)
    columns = [COLUMNS.index(name) for name in ("tokens_per_second", "flops_per_second", "mfu")]
    for row in read_rows(tmp_path / "told" / "metrics.csv"):
        tokens, flops, mfu = (float(row[column]) for column in columns)
        assert flops == pytest.approx(1e6 * tokens, rel=1e-3)
        assert mfu == pytest.approx(flops / 1e13, abs=1e-4)
    run_in(tmp_path / "no-peak", num_steps=6, flops_per_token=1e6)
    for row in read_rows(tmp_path / "no-peak" / "metrics.csv"):
        assert float(row[columns[1]]) > 0 and row[columns[2]] == ""
    run_in(tmp_path / "untold", num_steps=6)
    for row in read_rows(tmp_path / "untold" / "metrics.csv"):
        assert (row[columns[1]], row[columns[2]]) == ("", "")


def test_the_rows_say_what_happened(tmp_path: Path) -> None:
    run_in(tmp_path)
    rows = read_rows(tmp_path / "metrics.csv")
    assert COLUMNS[:6] == ("step", "train_loss", "val_loss", "lr", "wallclock_time", "tokens_processed")
    assert [int(row[0]) for row in rows] == list(range(1, 41))
    assert [row[0] for row in rows if row[2]] == ["10", "20", "30", "40"]
    assert [int(row[5]) for row in rows] == [step * 4 * 8 for step in range(1, 41)]
    assert float(rows[4][3]) == pytest.approx(0.01)  # the warmup ends at step 5
    assert float(rows[39][3]) == pytest.approx(0.001)
    assert abs(float(rows[0][1]) - math.log(11)) < 0.5  # a new model knows nothing
    assert float(rows[39][2]) < float(rows[9][2])


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_steps", 0), ("num_steps", True), ("eval_interval_steps", 1.5), ("checkpoint_interval_steps", -1)],
)
def test_impossible_lengths_are_refused_by_name(field: str, value: float) -> None:
    good: dict[str, float] = {"num_steps": 1, "eval_interval_steps": 1, "checkpoint_interval_steps": 1}
    with pytest.raises(ValueError, match=f"{field} must be a whole number of at least 1, got {value}"):
        LoopConfig(**(good | {field: value}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_grad_norm must be greater than 0"):
        LoopConfig(**good, max_grad_norm=float("nan"))  # type: ignore[arg-type]
