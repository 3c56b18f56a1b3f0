"""Limits by steps, tokens and seconds; early stop; the best checkpoint; the average of the weights."""

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hornbook.optim import linear, lr_schedule
from hornbook.trainer import Checkpoints, Evaluation, LoopConfig, StopRequest, WeightAverage, read_rows
from tiny_run import StopAfter, run_in, same_bits, untimed_rows

TOKENS_PER_STEP = 4 * 8


def losses(*values: float) -> Callable[[bool], Evaluation]:
    """Evaluations with these losses, one after the other; the last one is thorough, and 0.5."""
    coming = iter(values)

    def evaluate(last: bool) -> Evaluation:
        loss = 0.5 if last else next(coming)
        return Evaluation(
            loss=loss, bits_per_byte=1.0, num_tokens=1, num_windows=9 if last else 1, num_windows_in_all=9
        )

    return evaluate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second further at every look."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))


def test_a_run_ends_with_the_update_that_reaches_its_tokens(tmp_path: Path) -> None:
    outcome, _ = run_in(tmp_path, loop={"num_steps": None, "max_tokens": 10 * TOKENS_PER_STEP + 1})
    assert (outcome.step, outcome.finished, outcome.progress.tokens) == (11, True, 11 * TOKENS_PER_STEP)
    assert outcome.evaluation is not None
    assert run_in(tmp_path, loop={"num_steps": None, "max_tokens": 10 * TOKENS_PER_STEP + 1})[0].step == 11


@pytest.mark.usefixtures("clock")
def test_a_run_ends_with_the_update_that_reaches_its_seconds_over_all_its_calls(tmp_path: Path) -> None:
    loop = {"num_steps": None, "max_seconds": 200.0}
    stop = StopRequest()
    first, _ = run_in(tmp_path, loop=loop, stop=stop, sinks=[StopAfter(stop, 5)])
    assert (first.step, first.finished) == (5, False)
    second, _ = run_in(tmp_path, loop=loop)
    assert second.finished
    assert 200 <= second.wallclock_seconds < 230  # what a step, an evaluation and a save take of this clock
    rows = read_rows(tmp_path / "metrics.csv")
    assert [float(row[4]) for row in rows] == sorted(float(row[4]) for row in rows)


@pytest.mark.usefixtures("clock")
def test_a_schedule_by_fraction_is_at_its_end_when_the_nearest_limit_is(tmp_path: Path) -> None:
    schedule = lr_schedule(linear, max_lr=1e-2, warmup=0.1, end=1.0)
    for name, loop in (
        ("steps", {"num_steps": 40}),
        ("tokens", {"num_steps": 99, "max_tokens": 40 * TOKENS_PER_STEP}),
        ("seconds", {"num_steps": 9999, "max_seconds": 300.0}),
    ):
        run_in(tmp_path / name, loop=loop, schedule=schedule, schedule_by="fraction")
    rates = {
        name: [float(row[3]) for row in read_rows(tmp_path / name / "metrics.csv")]
        for name in ("steps", "tokens", "seconds")
    }
    assert rates["steps"] == rates["tokens"] == [schedule(step / 40) for step in range(1, 41)]
    by_time = rates["seconds"]
    assert max(by_time) == pytest.approx(1e-2, rel=0.1)
    assert by_time[-1] < 1e-3  # the last update begins just before the end
    assert by_time.index(max(by_time)) == pytest.approx(0.1 * len(by_time), abs=2)


def test_a_run_stops_after_so_many_evaluations_without_a_better_one(tmp_path: Path) -> None:
    loop = {"eval_interval_steps": 2, "patience": 2}
    outcome, _ = run_in(tmp_path, loop=loop, evaluate=losses(5, 3, 4, 2, 2, 2.5, 1))
    assert (outcome.step, outcome.finished) == (12, True)
    assert (outcome.progress.best_loss, outcome.progress.best_step) == (2, 8)
    assert outcome.evaluation is not None and outcome.evaluation.num_windows == 9
    again, _ = run_in(tmp_path, loop=loop, evaluate=losses())
    assert (again.step, again.finished) == (12, True)


def test_patience_goes_on_counting_when_a_run_does(tmp_path: Path) -> None:
    loop = {"eval_interval_steps": 2, "patience": 2}
    stop = StopRequest()
    run_in(tmp_path, loop=loop, evaluate=losses(5, 3, 4), stop=stop, sinks=[StopAfter(stop, 7)])
    outcome, _ = run_in(tmp_path, loop=loop, evaluate=losses(4, 1))
    assert (outcome.step, outcome.progress.best_step) == (8, 4)


def test_the_best_evaluation_is_saved_whenever_it_comes_and_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep_last=1, keep_best=1)
    run_in(
        tmp_path,
        num_steps=12,
        checkpoint_interval_steps=5,
        loop={"eval_interval_steps": 2, "keep_best": True},
        evaluate=losses(5, 3, 4, 2.5, 2.7, 2.6),
        checkpoints=checkpoints,
    )
    assert [path.name for path in checkpoints.paths()] == ["step-00000008", "step-00000012"]
    best = checkpoints.best()
    assert best is not None and best.name == "step-00000008"


def test_evaluations_are_of_the_average_and_training_is_not(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def make_parts(model: nn.Module) -> Mapping[str, Any]:
        average = WeightAverage(model, 0.5)

        def evaluate(last: bool) -> Evaluation:
            weight = model.get_parameter("head.weight").detach()
            seen.append(weight.clone())
            assert torch.equal(weight, average.tensors()["average.head.weight"])
            return losses(1.0)(last)

        return {"average": average, "evaluate": evaluate}

    _, averaged = run_in(tmp_path / "averaged", make_parts=make_parts)
    _, plain = run_in(tmp_path / "plain", evaluate=lambda last: losses(1.0)(last))
    assert same_bits(averaged.state_dict(), plain.state_dict())
    assert untimed_rows(tmp_path / "averaged") == untimed_rows(tmp_path / "plain")
    assert len(seen) == 4
    assert not torch.equal(seen[-1], averaged.head.weight)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_steps": None}, "the run would never end: give num_steps, max_tokens or max_seconds"),
        ({"max_seconds": 0.0}, "max_seconds must be greater than 0 and finite, got 0.0"),
        ({"max_seconds": float("nan")}, "max_seconds must be greater than 0 and finite, got nan"),
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1, got 0"),
        ({"micro_batch_size": 1.5}, "micro_batch_size must be a whole number of at least 1, got 1.5"),
        ({"patience": -1}, "patience must be a whole number of at least 1, got -1"),
        ({"max_skipped_steps": -1}, "max_skipped_steps must be at least 0, got -1"),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"num_steps": 1, "eval_interval_steps": 1, "checkpoint_interval_steps": 1}
    with pytest.raises(ValueError, match=message):
        LoopConfig(**(usual | fields))
