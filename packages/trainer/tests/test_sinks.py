"""Sinks beside the CSV file: what they write, and that none of them can stop or slow a run."""

import json
import logging
import math
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hornbook.trainer import BackgroundSink, Evaluation, JsonLinesSink, Row, TensorBoardSink
from tiny_run import run_in

EVALUATION = Evaluation(loss=2.0, bits_per_byte=1.5, num_tokens=10, num_windows=2, num_windows_in_all=4)


def row(step: int, train_loss: float = 3.0) -> Row:
    return Row(
        step=step,
        train_loss=train_loss,
        val_loss=2.0 if step == 2 else None,
        lr=1e-3,
        wallclock_time=1.5,
        tokens_processed=step * 8,
        grad_norm=1.0,
        tokens_per_second=100.0,
        mfu=None,
        bits_per_byte=1.5 if step == 2 else None,
        skipped_steps=0,
    )


class Recorder:
    """A sink that keeps what it hears, after doing something else."""

    def __init__(self, before_each: Callable[[], object] = lambda: None) -> None:
        self.heard: list[Any] = []
        self.before_each = before_each

    def start(self, step: int) -> None:
        self.before_each()
        self.heard.append(("start", step))

    def log(self, row: Row) -> None:
        self.before_each()
        self.heard.append(row)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        self.heard.append((step, evaluation))

    def close(self) -> None:
        self.heard.append("closed")


def test_in_the_background_all_is_told_in_order() -> None:
    recorder = Recorder()
    sink = BackgroundSink(lambda: recorder, "recorder")
    sink.start(0)
    sink.log(row(1))
    sink.evaluated(2, EVALUATION)
    sink.log(row(2))
    sink.close()
    assert recorder.heard == [("start", 0), row(1), (2, EVALUATION), row(2), "closed"]
    assert not [thread for thread in threading.enumerate() if thread.name == "sink recorder"]


@pytest.mark.parametrize("where", ["when made", "when told"])
@pytest.mark.parametrize("error", [ImportError("no wandb"), ValueError("bad"), SystemExit(1)])
def test_a_sink_that_fails_is_named_once_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    def make() -> Recorder:
        if where == "when made":
            fail()
        return Recorder(fail)

    with caplog.at_level(logging.WARNING):
        outcome, _ = run_in(tmp_path, num_steps=12, sinks=[BackgroundSink(make, "the sink")])
    assert outcome.finished
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"the sink is told no more: {type(error).__name__}: {error}"]


def test_a_sink_that_hangs_is_left_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wake = threading.Event()
    sink = BackgroundSink(lambda: Recorder(wake.wait), "the sink", capacity=5, close_seconds=0.05)
    with caplog.at_level(logging.WARNING):
        outcome, _ = run_in(tmp_path, num_steps=30, sinks=[sink])
    assert outcome.finished
    left_behind, too_slow = (record.getMessage() for record in caplog.records)
    assert left_behind == "the sink has not taken all rows in 0.05 s: left behind"
    # The start, 30 rows and 3 evaluations, of which 5 wait in the queue and one may be what hangs.
    assert too_slow in {"the sink was too slow for 28 rows", "the sink was too slow for 29 rows"}
    wake.set()


def test_a_hanging_sink_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    code = f"""
    import sys, threading
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from hornbook.trainer import BackgroundSink
    from pathlib import Path
    from tiny_run import run_in
    hang = lambda: threading.Event().wait()
    run_in(Path(sys.argv[1]), num_steps=8, sinks=[BackgroundSink(hang, "the sink", close_seconds=0.05)])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "left behind" in done.stderr


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_hold_what_is_known_and_go_on_without_a_gap_or_a_double(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        sink = JsonLinesSink(path)
        sink.start(start)
        for step in steps:
            if step == 2:
                sink.evaluated(2, EVALUATION)
            sink.log(row(step, train_loss=math.nan if step == 4 else 3.0))
        sink.close()
        path.write_text(path.read_text() + '{"step": 5, "tr')  # cut by a kill
    text = path.read_text()
    path.write_text(text[: text.rfind("\n") + 1])
    written = lines(path)
    assert [line["step"] for line in written] == [1, 2, 3, 4]
    assert "val_loss" not in written[0] and "mfu" not in written[0]
    assert written[1]["evaluation"] == {
        "loss": 2.0,
        "bits_per_byte": 1.5,
        "num_tokens": 10,
        "num_windows": 2,
        "num_windows_in_all": 4,
        "perplexity": math.exp(2.0),
    }
    assert "evaluation" not in written[2]
    assert written[3]["train_loss"] is None


def test_tensorboard_reads_the_scalars_of_every_row(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]

    sink = BackgroundSink(lambda: TensorBoardSink(tmp_path), "TensorBoard")
    sink.start(0)
    for step in (1, 2):
        sink.log(row(step))
    sink.close()
    (path,) = tmp_path.iterdir()
    raw, scalars = path.read_bytes(), {}
    while raw:  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(raw[:8], "little")
        event = Event.FromString(raw[12 : 12 + length])
        raw = raw[16 + length :]
        for value in event.summary.value:
            scalars[value.tag, event.step] = value.simple_value
    assert scalars["loss/train", 1] == 3.0
    assert scalars["loss/validation", 2] == 2.0
    assert ("loss/validation", 1) not in scalars
    assert scalars["tokens_processed", 2] == 16.0


STAND_IN = """
import json, os, time

class Run:
    def __init__(self, **settings):
        self.file = open(os.environ["HEARD"], "a")
        self.file.write(json.dumps(settings) + "\\n")
    def log(self, values, step):
        self.file.write(json.dumps([step, values]) + "\\n")
    def finish(self):
        self.file.write('"finished"\\n')
        self.file.close()

def init(**settings):
    return Run(**settings)
"""


def test_wandb_is_told_the_settings_and_every_row_and_is_imported_only_then(tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text(STAND_IN)
    code = f"""
    import sys
    sys.path[:0] = [{str(tmp_path)!r}, {str(Path(__file__).parent)!r}]
    from hornbook.trainer import BackgroundSink, WandbSink
    from test_sinks import row
    assert not {{"wandb", "tensorboardX"}} & set(sys.modules)
    def make():
        return WandbSink("stories", run_id="a-1", directory="d", configuration={{"lr": 1}})
    sink = BackgroundSink(make, "W&B")
    sink.start(0)
    sink.log(row(1))
    sink.log(row(2))
    sink.close()
    """
    heard = tmp_path / "heard"
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env={"HEARD": str(heard)}
    )
    assert done.stderr == ""
    settings, first, second, last = lines(heard)
    assert settings == {
        "project": "stories", "id": "a-1", "name": "a-1", "resume": "allow", "dir": "d", "config": {"lr": 1}
    }  # fmt: skip
    assert first[0] == 1 and first[1]["train_loss"] == 3.0 and "val_loss" not in first[1]
    assert second[0] == 2 and second[1]["val_loss"] == 2.0
    assert last == "finished"
