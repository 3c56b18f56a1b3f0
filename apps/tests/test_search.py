"""A search: its runs follow from the outcomes, it prunes what lags behind, and a kill loses none of it."""

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sweep as app
from recipes.experiment import demo
from recipes.sweep.outcome import Outcome, read_outcomes, write_outcomes
from recipes.sweep.plans import Plan
from recipes.sweep.point import MAX_LR, Point
from recipes.sweep.search import Space, parse_space, search_plan
from recipes.wrong_input import exit_code_of
from tiny import arguments, write_texts

SPACE = Space(ranges={MAX_LR: (1e-4, 1.0, True)}, choices={"model.norm": ["pre", "post"]})


def outcome(one: Point) -> Outcome:
    """Best at a rate of 1e-2 with norms before; above 0.3 all is lost."""
    rate = one.value(MAX_LR)
    if rate > 0.3:
        return Outcome(status="diverged", evaluations=((100, 9.0),))
    loss = 2 + abs(math.log10(rate) + 2) + 0.5 * (one.value("model.norm") == "post")
    return Outcome(status="finished", val_loss=loss, evaluations=((100, loss + 1), (200, loss)))


def searched(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Run what the plan wants, one after another."""
    found = dict(outcomes)
    while new := [one for one in plan(found) if one.name not in found]:
        found[new[0].name] = outcome(new[0])
    return found


def test_a_search_finds_the_region_of_the_best_and_stays_in_its_space() -> None:
    plan, _ = search_plan(demo(), SPACE, num_runs=30)
    outcomes = searched(plan, {})
    assert len(outcomes) == len(plan(outcomes)) == 30
    rates = [one.value(MAX_LR) for one in plan(outcomes)]
    assert all(1e-4 <= rate <= 1 for rate in rates)
    near = [sum(3e-3 < rate < 3e-2 for rate in part) for part in (rates[:10], rates[20:])]
    assert near[1] > near[0]
    assert min(one.val_loss or 9 for one in outcomes.values()) < 2.1


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_same_outcomes_give_the_same_runs_to_whoever_asks_and_more_of_them_go_on(jobs: int) -> None:
    plan, _ = search_plan(demo(), SPACE, num_runs=14, jobs=jobs)
    assert len(plan({})) == jobs  # as many as can be chosen while nothing is known
    outcomes = searched(plan, {})
    names = [one.name for one in plan(outcomes)]
    again, _ = search_plan(demo(), SPACE, num_runs=14, jobs=jobs)
    assert [one.name for one in again(dict(reversed(outcomes.items())))] == names
    # Killed at any point: what had ended by then leads to the same.
    for ended in (1, 7, 13):
        resumed, _ = search_plan(demo(), SPACE, num_runs=14, jobs=jobs)
        assert list(searched(resumed, {name: outcomes[name] for name in names[:ended]})) == names
    more, _ = search_plan(demo(), SPACE, num_runs=16, jobs=jobs)
    assert [one.name for one in more(outcomes)][:14] == names
    other, _ = search_plan(replace(demo(), seed=1), SPACE, num_runs=14, jobs=jobs)
    assert [one.name for one in other({})] != names[:jobs]


def test_a_run_above_the_median_of_those_before_is_pruned_but_none_of_the_first_five() -> None:
    base = demo()  # 50 steps of warmup
    plan, prune = search_plan(base, SPACE, num_runs=10)
    outcomes: dict[str, Outcome] = {}
    for loss in range(5):
        one = plan(outcomes)[-1]
        assert not prune(one.name, [(100, 99.0)], outcomes)
        evaluations = ((20, 1.0), (100, 4.0 + loss), (200, 3.0 + loss))
        outcomes[one.name] = Outcome(status="finished", val_loss=3.0 + loss, evaluations=evaluations)
    sixth = plan(outcomes)[-1].name
    assert prune(sixth, [(100, 6.5)], outcomes)  # the median of 4 to 8 is 6
    assert not prune(sixth, [(100, 5.5)], outcomes)
    assert prune(sixth, [(100, 5.5), (200, 5.2)], outcomes)  # and of 3 to 7, 5
    assert not prune(sixth, [(20, 99.0)], outcomes)  # of the warmup nothing is said


def test_evaluations_come_back_from_the_record(tmp_path: Path) -> None:
    outcomes = {"a": Outcome(status="pruned", val_loss=2.5, evaluations=((4, 3.0), (8, 2.5)))}
    write_outcomes(tmp_path / "outcomes.json", outcomes)
    assert read_outcomes(tmp_path / "outcomes.json") == outcomes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["max_lrr=1:2"], "--space max_lrr: there is no such field; the nearest is optimizer.max_lr"),
        (["max_lr=1e-3:1e-4"], "--space max_lr=1e-3:1e-4: expected optimizer.max_lr=LOW:HIGH or"),
        (["weight_decay=0:1:log"], "expected optimizer.weight_decay=LOW:HIGH"),
        (["max_lr=1e-3:1e-2:lgo"], "expected optimizer.max_lr=LOW:HIGH"),
        (["norm=pre:post"], "expected model.norm=LOW:HIGH"),
        (["max_lr=1e-3:1e-2:log:9"], "expected optimizer.max_lr=LOW:HIGH"),
        (["max_lr=-1:1"], "max_lr must be"),
        (["seed=1:x"], "--space seed=x: it must be int"),
        (["seed"], "--space seed: expected FIELD=VALUE,VALUE,…"),
        (["seed=0:9", "seed=1,2"], "--space seed is given twice"),
    ],
)
def test_a_space_that_cannot_be_is_told_by_field_and_rule(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r"--space|max_lr|=LOW:HIGH") as error:
        parse_space(words, demo())
    assert message in str(error.value)


def test_ranges_of_whole_numbers_give_whole_numbers() -> None:
    space = parse_space(["batch_size=1:64:log", "qk_norm=true,false", "max_lr=1e-3:1e-2"], demo())
    assert space.ranges == {"batch_size": (1, 64, True), "optimizer.max_lr": (1e-3, 1e-2, False)}
    plan, _ = search_plan(demo(), space, num_runs=3)
    (first,) = plan({})
    assert isinstance(first.value("batch_size"), int)
    assert isinstance(first.value("model.qk_norm"), bool)


def sweep(*words: str) -> int:
    return exit_code_of(lambda: app.main(list(words)))


def test_without_optuna_a_search_is_refused_by_name_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "optuna" else there(name, *more)
    )
    assert sweep("search", "--out", str(tmp_path / "run")) == 2
    message = "error: `sweep.py search` needs optuna, which is not installed: uv sync --extra optuna"
    assert capsys.readouterr().err.strip() == message
    assert list(tmp_path.iterdir()) == []


def test_a_search_runs_goes_on_with_more_runs_and_refuses_another_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], started: list[str]
) -> None:
    texts = write_texts(tmp_path)
    words = ["search", *arguments(tmp_path, *texts), "--space", "max_lr=1e-3:1e-1:log"]
    assert sweep(*words, "--num-runs=2", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "1 run to begin with" in said and "and 1 more, each chosen from how those before it did" in said
    assert sweep(*words, "--num-runs=2") == 0
    assert [name[:3] for name in started] == ["000", "001"]
    assert sweep(*words, "--num-runs=3") == 0
    assert [name[:3] for name in started] == ["000", "001", "002"]
    recorded: dict[str, Any] = json.loads((tmp_path / "run" / "outcomes.json").read_text())
    assert [step for step, _ in recorded[started[0]]["evaluations"]] == [4, 8, 12]
    capsys.readouterr()
    assert sweep("search", *arguments(tmp_path, *texts), "--space", "max_lr=1e-3:1:log") == 2
    assert "holds a sweep with" in capsys.readouterr().err
