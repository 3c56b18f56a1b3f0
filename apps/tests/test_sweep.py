"""Sweeps: which runs they have, that a kill loses nothing, and that two of them don't mix."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from html import escape
from pathlib import Path

import pytest

import sweep as app
from hornbook.trainer import read_rows
from in_process import Ended
from recipes.experiment import demo
from recipes.sweep.follower import Follower
from recipes.sweep.outcome import Outcome
from recipes.sweep.plans import batch_plan, lr_plan, rates_around
from recipes.sweep.point import MAX_LR, MIN_LR, changed, combinations, parse_grid
from recipes.wrong_input import exit_code_of
from tiny import arguments, train, write_texts

GOOD, BAD = Outcome(status="finished", val_loss=2.0), Outcome(status="diverged")


def sweep(*words: str) -> int:
    return exit_code_of(lambda: app.main(list(words)))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_texts(tmp_path_factory.mktemp("texts"))


def test_rates_go_up_to_the_first_that_diverges_and_then_closer_to_the_edge() -> None:
    plan = lr_plan([1.0, 4.0, 16.0, 64.0], edge_runs=2)
    outcomes: dict[str, Outcome] = {}
    asked = []
    while new := [one for one in plan(outcomes) if one.name not in outcomes]:
        rate = new[0].value(MAX_LR)
        asked.append(rate)
        outcomes[new[0].name] = GOOD if rate < 5 else BAD
    assert asked == [1, 4, 16, 8, pytest.approx(math.sqrt(32), rel=2e-3)]
    # A function of the outcomes: whoever is told them in another order, or anew, wants the same runs.
    assert plan(dict(reversed(outcomes.items()))) == plan(outcomes)


def test_the_default_rates_are_a_log_grid_that_ends_beyond_all_reason() -> None:
    rates = rates_around(6e-3, 10**0.5)
    assert rates[0] == 6e-4
    assert rates[-1] > 100
    assert all(2.9 < high / low < 3.4 for low, high in zip(rates, rates[1:], strict=False))  # noqa: RUF007


def test_batches_see_the_same_tokens_and_end_where_memory_does() -> None:
    base = demo()
    plan = batch_plan(base, [1, 2, 4, 512], rate_factors=[1.0, 0.5])
    points = plan({})
    experiments = [changed(base, one.changes) for one in points]
    assert {e.batch_size for e in experiments} == {1, 2, 4}  # 512 would leave 8 updates
    assert {e.num_tokens for e in experiments} == {base.num_tokens}
    by_name = {one.name: e for one, e in zip(points, experiments, strict=True)}
    assert by_name["batch_size-1_max_lr-0.003"].optimizer.max_lr == pytest.approx(6e-3 * math.sqrt(1 / 4))
    assert by_name["batch_size-4_max_lr-0.006"] == base
    full = {points[2].name: Outcome(status="out of memory")}
    assert {one.value("batch_size") for one in plan(full)} == {1, 2}


def test_one_number_scales_both_ends_of_the_rate_unless_both_are_given() -> None:
    base = demo()
    assert changed(base, [(MAX_LR, 6e-2)]).schedule.min_lr == pytest.approx(3e-3)
    assert changed(base, [(MAX_LR, 6e-2), (MIN_LR, 1e-5)]).schedule.min_lr == 1e-5
    assert changed(base, []) == base


def test_a_grid_has_every_combination_each_value_as_its_field_has_it() -> None:
    words = ["max_lr=1e-3,2e-3", "model.norm=post", "qk-norm=true,false", "num_kv_heads=none,2", "seed=1"]
    grid = parse_grid(words, demo())
    assert grid == {
        "optimizer.max_lr": [1e-3, 2e-3],
        "model.norm": ["post"],
        "model.qk_norm": [True, False],
        "model.num_kv_heads": [None, 2],
        "seed": [1],
    }
    points = combinations(grid)
    assert len({one.name for one in points}) == 8
    assert changed(demo(), points[0].changes).model.norm == "post"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["grid"],
            "error: say which sweep: lr, batch, search, or grid with --grid FIELD=VALUE,VALUE,…",
        ),
        (["lr", "--grid", "seed=1"], "error: --grid goes with the sweep `grid`, not with `lr`"),
        (["grid", "--grid", "seed"], "error: --grid seed: expected FIELD=VALUE"),
        (
            ["grid", "--grid", "max_lrr=1"],
            "error: --grid max_lrr: there is no such field; the nearest is opt",
        ),
        (["grid", "--grid", "kind=muon"], "error: --grid kind may mean optimizer.kind or schedule.kind"),
        (
            ["grid", "--grid", "norm=pots"],
            "error: --grid model.norm=pots: it must be one of pre, post, none; ",
        ),
        (["grid", "--grid", "seed=x"], "error: --grid seed=x: it must be int"),
        (["grid", "--grid", "seed=1", "--grid", "seed=2"], "error: --grid seed is given twice"),
        (["grid", "--grid", "num_heads=3"], "error: d_model must be a multiple of num_heads, got 16 and 3"),
        (["lr", "--rates", "-1"], "error: max_lr must be"),
        (["lr", "--rate-step=1"], "error: --rate-step must be greater than 1, got 1.0"),
        (["lr", "--edge-runs=-1"], "error: --edge-runs must be at least 0, got -1"),
        (["batch", "--sizes", "0"], "error: --sizes must be numbers greater than 0, got 0"),
        (["lr", "--jobs=0"], "--jobs must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_written(
    tmp_path: Path,
    texts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    try:
        code: object = sweep(*words, *arguments(tmp_path, *texts))
    except SystemExit as error:  # how the flags' parser ends
        code = error.code
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_names_the_runs_and_writes_nothing(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["grid", "--grid", "seed=0,1", *arguments(tmp_path, *texts), "--dry-run"]
    assert sweep(*words) == 0
    said = capsys.readouterr().out
    assert "2 runs to begin with, about 0 s in all" in said
    assert "  seed-0  about 0 s\n  seed-1  about 0 s\n" in said
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_run_is_a_result_a_finished_sweep_does_nothing_and_another_is_refused(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str], started: list[str]
) -> None:
    words = ["lr", *arguments(tmp_path, *texts), "--rates", "1e-2", "1e3", "1e4", "--edge-runs=0"]
    assert sweep(*words) == 0
    assert started == ["max_lr-0.01", "max_lr-1000"]  # beyond divergence nothing is run
    out = tmp_path / "run"
    told = (out / "summary.md").read_text()
    assert told in capsys.readouterr().out
    assert "Best: **max_lr-0.01**" in told
    assert "lies between 0.01, which is stable, and 1000, which diverges" in told
    outcomes = json.loads((out / "outcomes.json").read_text())
    assert outcomes["max_lr-1000"]["status"] in ("diverged", "no better than guessing")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "lies between 0.01, which is stable, and 1000, which diverges" in page  # the verdict
    assert escape(shlex.join(["uv", "run", *sys.argv])) in page  # what makes it again
    assert (out / "figures" / "loss-by-time.svg").is_file()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert sweep(*words) == 0
    assert len(started) == 2
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert [path.name for path in after if after[path] != before.get(path)] == [".lock"]
    capsys.readouterr()
    assert sweep("lr", *arguments(tmp_path, *texts), "--rates", "1e-2", "--edge-runs=0") == 2
    assert "holds a sweep with sweep.rates = [0.01, 1000.0, 10000.0]" in capsys.readouterr().err
    assert sweep(*words, "--seed=1") == 2
    assert "holds a sweep with experiment.seed = 0, this one has 1" in capsys.readouterr().err


def test_a_sweep_goes_nowhere_where_other_things_are(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    assert sweep("lr", *arguments(tmp_path, *texts)) == 2
    assert "is not empty and holds no sweep (thesis.tex)" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_run_that_fails_ends_the_sweep_and_names_its_log(
    tmp_path: Path,
    texts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    started: list[str],
) -> None:
    out = tmp_path / "run"
    words = ["grid", "--grid", "seed=0,1", *arguments(tmp_path, *texts)]
    (out / "seed-1").mkdir(parents=True)
    (out / "seed-1" / "thesis.tex").write_text("mine")
    (out / ".sweep").mkdir()
    assert sweep(*words) == 2
    assert "the run seed-1 ended with exit code 2" in capsys.readouterr().err
    (out / "seed-1" / "thesis.tex").unlink()
    assert sweep(*words) == 0
    assert started == ["seed-0", "seed-1", "seed-1"]


def test_a_run_that_was_killed_is_told_as_such_and_the_same_command_goes_on(
    tmp_path: Path,
    texts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    started: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["grid", "--grid", "seed=0", *arguments(tmp_path, *texts)]
    with monkeypatch.context() as patch:
        patch.setattr("recipes.sweep.runner._start", lambda *_: Ended(-signal.SIGKILL))
        assert sweep(*words) == 2
    assert "the run seed-0 was killed by signal 9" in capsys.readouterr().err
    assert sweep(*words) == 0
    assert started == ["seed-0"]


def test_ctrl_c_ends_the_run_that_goes_on_and_says_that_the_same_command_goes_on(
    tmp_path: Path,
    texts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pressed(_sentinels: object, _timeout: object) -> None:
        raise KeyboardInterrupt

    ended: list[str] = []

    class Running(Ended):
        def terminate(self) -> None:
            ended.append("told")

        def join(self) -> None:
            ended.append("waited for")

    with monkeypatch.context() as patch:
        patch.setattr("recipes.sweep.runner._start", lambda *_: Running(0))
        patch.setattr("recipes.sweep.runner.wait", pressed)
        assert sweep("grid", "--grid", "seed=0,1", *arguments(tmp_path, *texts, "--jobs=2")) == 130
    assert ended == ["told", "told", "waited for", "waited for"]
    said = capsys.readouterr()
    assert "stopping; what runs is saved first, and the same command goes on" in said.out
    assert said.err == "interrupted\n"


def test_a_sweep_killed_in_the_middle_of_a_run_goes_on_to_the_same_bits(
    tmp_path: Path, texts: tuple[Path, Path]
) -> None:
    more = ["--num-steps=150", "--eval-interval-steps=50", "--checkpoint-interval-steps=10"]
    words = ["grid", "--grid", "seed=0", *arguments(tmp_path, *texts, *more)]
    command = [sys.executable, app.__file__, *words]
    run = tmp_path / "run" / "seed-0"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ) as process:
        while not list(run.glob("checkpoints/step-*")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (run / "results.json").exists()
    assert sweep(*words) == 0
    straight = tmp_path / "straight"
    straight.mkdir()

    assert train(*[w for w in words[3:] if not w.startswith("--out")], f"--out={straight / 'run'}") == 0
    losses = [[row[1] for row in read_rows(one / "metrics.csv")] for one in (run, straight / "run")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 150


def test_who_follows_a_run_sees_each_whole_line_once_and_begins_anew_with_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    follower = Follower(path)
    follower.read()
    assert follower.step == 0
    path.write_text("step,train_loss,val_loss,wallclock_time\n1,5.0,,0.5\n2,4.0,4.5,1.0\n3,3.9")
    follower.read()
    assert (follower.step, follower.loss, follower.seconds) == (2, 4.0, 1.0)
    with path.open("a") as file:
        file.write(",,1.5\n4,nan,nan,2.0\n")
    follower.read()
    assert (follower.step, follower.evaluations) == (4, [(2, 4.5)])
    new = tmp_path / "new"  # as a run that goes on from step 1 replaces it
    new.write_text("step,train_loss,val_loss,wallclock_time\n1,5.0,,0.5\n")
    new.replace(path)
    follower.read()
    assert (follower.step, follower.evaluations) == (1, [])
