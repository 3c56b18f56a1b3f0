"""The experiments that are made of runs: ablations, OpenWebText, the leaderboard; end to end, small."""

import json
import math
from pathlib import Path

import pytest

import ablate
import leaderboard
import train_owt
from hornbook.accounting import num_parameters
from recipes.ablations import ablation_plan, ablation_summary, variants
from recipes.experiment import PRESETS, demo
from recipes.leaderboard import LEADERBOARD_PRESETS, reached, tricks, with_tricks
from recipes.owt import OWT_PRESETS
from recipes.sweep.outcome import Outcome
from recipes.sweep.point import MAX_LR, changed
from recipes.wrong_input import exit_code_of
from tiny import arguments, train, write_texts


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_texts(tmp_path_factory.mktemp("texts"))


def test_each_variant_is_tuned_until_its_best_rate_lies_inside_and_then_seeded() -> None:
    base = demo()
    plan = ablation_plan(base, ["baseline", "nope"], [0.5, 1.0, 2.0], num_seeds=3)
    best = {"baseline": 6e-3, "nope": 4.8e-2}  # losses are parabolas of log rate with these minima
    outcomes: dict[str, Outcome] = {}
    while new := [one for one in plan(outcomes) if one.name not in outcomes]:
        for one in new:
            rate = one.value(MAX_LR)
            away = math.log(rate / best[one.name.split("_")[0]])
            outcomes[one.name] = Outcome(status="finished", val_loss=2 + away**2 + 0.01 * one.value("seed"))
    points = plan(outcomes)
    rates = {name: sorted({p.value(MAX_LR) for p in points if p.name.startswith(name)}) for name in best}
    assert rates["baseline"] == [3e-3, 6e-3, 12e-3]
    assert rates["nope"] == [3e-3, 6e-3, 12e-3, 24e-3, 48e-3, 96e-3]
    seeds = {
        name: [p.value("seed") for p in points if p.name.startswith(name) and p.value(MAX_LR) == rate]
        for name, rate in best.items()
    }
    assert seeds == {"baseline": [0, 1, 2], "nope": [0, 1, 2]}
    told = ablation_summary(base, ["baseline", "nope"])(points, outcomes, Path())
    row = next(line for line in told.splitlines() if "NoPE" in line)
    assert "| 0.048 | 2.0100 | 0.0200 |" in row  # mean and spread of three seeds
    assert "| +0.0000, within the noise |" in row
    assert f"| {2 + math.log(8) ** 2:.4f} |" in row  # at the baseline's rate


def test_a_variant_that_no_rate_suits_is_told_as_such() -> None:
    plan = ablation_plan(demo(), ["baseline", "no-norm"], [1.0, 2.0], num_seeds=2)
    outcomes: dict[str, Outcome] = {}
    while new := [one for one in plan(outcomes) if one.name not in outcomes]:
        for one in new:
            if one.name.startswith("baseline"):
                outcomes[one.name] = Outcome(status="finished", val_loss=3.0)
            else:
                outcomes[one.name] = Outcome(status="diverged")
    told = ablation_summary(demo(), ["baseline", "no-norm"])(plan(outcomes), outcomes, Path())
    assert "| no rate was stable | - | diverged | - |" in told


def test_the_variants_differ_in_what_they_say_and_silu_has_as_many_parameters() -> None:
    base = changed(demo(), [("model.d_model", 192), ("model.d_ff", 512)])
    sizes = {
        name: num_parameters(changed(base, list(changes.items())).model)
        for name, (_, changes) in variants(base).items()
    }
    assert sizes["silu"] == sizes["baseline"]  # three matrices of 8/3 d, or two of 4 d
    assert sizes["nope"] == sizes["baseline"]
    assert sizes["tied"] == sizes["baseline"] - 4096 * 192
    assert sizes["no-norm"] == sizes["baseline"] - 192 * (2 * 4 + 1)


def test_the_ablations_run_end_to_end(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str], started: list[str]
) -> None:
    words = [*arguments(tmp_path, *texts), "--variants", "silu", "--rate-factors", "1"]
    assert exit_code_of(lambda: ablate.main(words)) == 0
    assert len(started) == 4  # two variants, a rate, two seeds
    told = (tmp_path / "run" / "summary.md").read_text()
    assert told in capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in told.splitlines()[2:4]] == [
        "pre-norm, RoPE, SwiGLU",
        "SiLU, d_ff = 4 d_model",
    ]


def test_openwebtext_has_the_model_and_the_steps_of_tinystories() -> None:
    for name, preset in OWT_PRESETS.items():
        web, stories = preset(), PRESETS[name]()
        assert web.loop == stories.loop
        assert changed(web, [("model.vocab_size", stories.model.vocab_size)]) == stories
    assert OWT_PRESETS["gpu"]().model.vocab_size == 32_000


def test_a_run_on_the_web_is_compared_with_one_on_stories(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    stories = tmp_path / "stories"
    stories.mkdir()
    assert train(*arguments(stories, *texts)) == 0
    words = arguments(tmp_path, *texts, "--vocab-size=400", f"--compare={stories / 'run'}")
    capsys.readouterr()
    assert exit_code_of(lambda: train_owt.main(words)) == 0
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line[:1] == "|"]
    assert [row[2] for row in rows[2:]] == ["300", "400"]
    for row, run in zip(rows[2:], (stories / "run", tmp_path / "run"), strict=True):
        results = json.loads((run / "results.json").read_text())
        assert row[3] == f"{results['val_loss']:.4f}"
        assert row[6] == f"{results['bits_per_byte']:.4f}"
        assert float(row[3]) / math.log(2) / float(row[5]) == pytest.approx(float(row[6]), rel=1e-3)


def test_what_to_compare_with_is_checked_before_training(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(lambda: train_owt.main([*arguments(tmp_path, *texts), "--compare=no-run"])) == 2
    assert "no-run is no run and holds none" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_openwebtext_it_says_what_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for main in (train_owt.main, leaderboard.main):
        assert exit_code_of(lambda main=main: main(["--device=cpu", "--dry-run"])) == 0  # type: ignore[misc]
        assert "library, not OpenWebText" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_every_trick_is_a_switch_and_the_presets_have_them_all() -> None:
    for preset in LEADERBOARD_PRESETS.values():
        base = preset()
        names = list(tricks(base.model))
        assert with_tricks(base, names) == base
        variants = [with_tricks(base, [other for other in names if other != name]) for name in names]
        assert len({repr(one) for one in [base, *variants]}) == len(names) + 1
        plain = with_tricks(base, [])
        assert plain.optimizer.kind == "adamw"
        assert (plain.model.ffn, plain.model.logit_softcap) == ("swiglu", None)
        assert base.loop.max_seconds is not None


def test_the_place_where_a_loss_is_reached_lies_between_two_evaluations(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(
        "step,val_loss,tokens_processed,wallclock_time\n1,,10,1\n2,4.0,20,2\n3,,30,3\n4,3.0,40,6\n5,2.0,50,7\n"
    )
    assert reached(path, 3.5) == (30, 4)
    assert reached(path, 3.0) == (40, 6)
    assert reached(path, 5.0) == (20, 2)
    assert reached(path, 1.0) is None


def test_the_tricks_are_measured_end_to_end(
    tmp_path: Path, texts: tuple[Path, Path], started: list[str]
) -> None:
    words = [
        *arguments(tmp_path, *texts, "--num-steps=4", "--eval-interval-steps=1"),
        "--measure", "--rate-factors", "1",
    ]  # fmt: skip
    assert exit_code_of(lambda: leaderboard.main(words)) == 0
    assert len(started) == 11
    told = (tmp_path / "run" / "summary.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows[2:]] == ["adamw", *tricks(demo().model), "all"]
    outcomes = json.loads((tmp_path / "run" / "outcomes.json").read_bytes())
    assert [one["steps"] for one in outcomes.values()] == [4] * 10 + [2]  # all together: half the tokens
    assert rows[2][5] == "1.00"


def test_tricks_are_not_measured_by_the_clock(
    tmp_path: Path, texts: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*arguments(tmp_path, *texts), "--num-steps=None", "--max-seconds=10", "--measure"]
    assert exit_code_of(lambda: leaderboard.main(words)) == 2
    assert "give --num-steps or --max-tokens" in capfd.readouterr().err
