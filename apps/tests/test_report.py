"""The report as data: what it reads, what it shows, and that nothing from a run can run in it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tyro

import report as app
from hornbook.accounting import format_bytes
from recipes.experiment import Experiment
from recipes.memory import predicted_memory
from recipes.report.page import render
from recipes.report.runs import find_runs, read_runs
from recipes.report.series import MAX_POINTS, against, figure_data
from recipes.wrong_input import exit_code_of
from reported import HOSTILE, write_outcomes, write_run
from tiny import arguments, train, write_texts


def report(*words: object) -> int:
    """Call the app as the shell does, but in this process."""
    return exit_code_of(lambda: app.main(tyro.cli(app.Flags, args=[str(word) for word in words])))


class Elements(HTMLParser):
    """The elements of a page, with their attributes and the text in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def embedded(page: str) -> dict[str, list[dict[str, dict[str, dict[str, list[float]]]]]]:
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(block)  # type: ignore[no-any-return]


def test_a_real_run_is_shown_with_its_loss_its_stories_and_its_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, *write_texts(tmp_path))) == 0
    out = tmp_path / "new" / "report.html"
    assert report(tmp_path / "run", f"--out={out}", f"--figures={tmp_path / 'figures'}") == 0
    page = out.read_text(encoding="utf-8")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    text = Elements(page).text
    assert f"{results['val_loss']:.4f}" in text
    assert f"{results['bits_per_byte']:.4f}" in text
    assert results["sample"] in text
    assert "optimizer.max_lr" in text
    assert "token embedding" in text
    (series,) = (run["series"] for run in embedded(page)["runs"])
    assert series["train_loss"]["step"] == [*range(1, 13)]
    assert series["val_loss"]["step"] == [4, 8, 12]
    assert series["val_loss"]["y"][-1] == pytest.approx(results["val_loss"], rel=1e-5)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"loss-by-{axis}.{kind}" for axis in ("step", "time") for kind in ("png", "svg")
    }
    assert (tmp_path / "figures" / "loss-by-step.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path / "figures" / "loss-by-time.svg") in capsys.readouterr().out


def test_a_dry_run_lists_what_it_would_read_and_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", ".sweep"):  # the last is what a sweep says of itself
        write_run(tmp_path / "runs" / name, diverged=name == "b")
    assert report(tmp_path / "runs", f"--out={tmp_path / 'page.html'}", "--figures=drawn", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/runs/a: finished, validation loss 2.5000",
        f"{tmp_path}/runs/b: diverged at step 40, validation loss 2.1810",
        f"would write {tmp_path}/page.html",
        "would write drawn",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_nothing_that_a_run_holds_becomes_an_element_of_the_page(tmp_path: Path) -> None:
    harmless, hostile = write_run(tmp_path / "harmless"), write_run(tmp_path / "hostile", text=HOSTILE)
    pages = [
        render(read_runs([run, run]), title=title) for run, title in ((harmless, "x"), (hostile, HOSTILE))
    ]
    # The same elements, whatever the words in them are: none was added, none lost, none got an attribute.
    elements = [Elements(page).found for page in pages]
    assert elements[0] == elements[1]
    assert HOSTILE in Elements(pages[1]).text
    assert not [name for _, attributes in elements[1] for name in attributes if name.startswith("on")]
    addresses = [
        value
        for _, attributes in elements[1]
        for name, value in attributes.items()
        if name in {"src", "href"}
    ]
    assert all(address is not None and address.startswith(("#", "data:,")) for address in addresses)
    assert "http" not in pages[0].replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_a_sweeps_table_and_verdict_stand_in_the_report_of_all_of_it(tmp_path: Path) -> None:
    told = (
        f"| rate | loss |\n|---|---|\n| 0.001 | 2.5 |\n\nBest: **0.001**.\n\n![x](http://x.y/z) {HOSTILE}\n"
    )
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    write_outcomes(tmp_path, told, a="finished", b="finished")
    page = Elements(render(read_runs(runs)))
    assert "rateloss0.0012.5" in "".join(page.text.split())
    assert HOSTILE[:40] in page.text
    plain = Elements(render(read_runs(runs[:1])))  # not the sweep, one of its runs
    assert "Best: " not in plain.text
    assert {tag for tag, _ in page.found} <= {tag for tag, _ in plain.found} | {"strong"}


def test_the_pages_policy_allows_its_own_script_alone(tmp_path: Path) -> None:
    page = render(read_runs([write_run(tmp_path / "run")]))
    (policy,) = [
        a["content"] for _, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    whole = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(whole.replace("\n5,", "\n5,nan,"))
    (run / "results.json").write_text("{")
    page = Elements(render(read_runs([run]))).text
    assert "results.json can't be read" in page
    assert "metrics.csv: 1 lines are not whole and left out" in page
    (run / "metrics.csv").write_text(whole + "41,2.0")  # cut by a kill
    (record,) = read_runs([run])
    assert record.columns["step"] == [*range(1, 41)]


def test_numbers_that_are_none_are_gaps_and_the_data_is_plain_json(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", losses=[4.0, float("nan"), float("inf"), 2.0])
    page = render(read_runs([run]))
    data = json.loads(json.dumps(embedded(page)), parse_constant=lambda name: pytest.fail(name))
    assert data["runs"][0]["series"]["train_loss"]["y"] == [4, 2]


def test_a_long_curve_is_averaged_to_what_a_screen_can_show(tmp_path: Path) -> None:
    losses = [float(step) for step in range(10_000)]
    data = figure_data(read_runs([write_run(tmp_path / "run", losses=losses)]))
    series = data["runs"][0]["series"]["train_loss"]
    assert len(series["y"]) == len(series["step"]) <= MAX_POINTS
    assert series["averaged"] == 4
    assert series["y"][1] == pytest.approx(5.5)
    assert series["step"][-1] == 10_000


def test_runs_that_differ_in_one_number_are_set_against_it(tmp_path: Path) -> None:
    for lr, loss in ((1e-3, 3.0), (1e-2, 2.0), (1e-1, 7.0)):
        write_run(tmp_path / f"lr-{lr}", lr=lr, val_loss=loss, diverged=lr == 1e-1)
    directories = find_runs([tmp_path])
    found = against(read_runs(directories))
    assert found is not None
    assert found["field"] == "optimizer.max_lr"
    assert {(point["x"], point["y"]) for point in found["points"]} == {(1e-3, 3), (1e-2, 2), (1e-1, None)}
    assert against(read_runs(directories[:2])) is None
    write_run(tmp_path / "lr-1", lr=1.0, val_loss=7.5)  # it began at 6
    found = against(read_runs(find_runs([tmp_path])))
    assert found is not None
    assert [point["y"] for point in found["points"] if point["x"] == 1] == [None]
    text = Elements(render(read_runs(directories))).text
    assert "Lowest validation loss: lr-0.01." in text
    assert "diverged" in text


def test_runs_that_a_sweep_ended_early_or_could_not_begin_are_seen_as_such(tmp_path: Path) -> None:
    write_run(tmp_path / "best", lr=1e-3, val_loss=2.5)
    for name, lr in (("lagging", 2e-3), ("large", 4e-3)):  # both were better than the best, where they ended
        write_run(tmp_path / name, lr=lr, losses=[6.0] * 10 + [2.0] * 10, ended=False)
    write_outcomes(tmp_path, best="finished", lagging="pruned", large="out of memory", huge="out of memory")
    runs = read_runs(find_runs([tmp_path]))
    told = {run.name: run.status for run in runs}
    assert told == {"best": "finished", "lagging": "pruned at step 20", "large": "out of memory at step 20"}
    page = Elements(render(runs))
    assert "Lowest validation loss: best." in page.text
    assert "hugeout of memory-" in page.text  # it has no directory
    found = against(runs)
    assert found is not None
    fates = {runs[point["run"]].name: (point["y"], point["fate"]) for point in found["points"]}
    assert fates == {"best": (2.5, ""), "lagging": (None, "pruned"), "large": (None, "out of memory")}
    assert "huge" not in Elements(render(runs[:1])).text  # not the sweep, one of its runs
    (tmp_path / "outcomes.json").write_text("[1]")
    assert [run.status for run in read_runs(find_runs([tmp_path]))][1:] == ["at step 20 of 20"] * 2


def test_predicted_memory_stands_beside_what_was_measured(tmp_path: Path) -> None:
    assert train(*arguments(tmp_path, *write_texts(tmp_path))) == 0
    # So small a run may find room in what this process has already, and be measured as nothing.
    (tmp_path / "run" / "memory.json").write_text('{"peak_bytes": 123400000}')
    (run,) = read_runs([tmp_path / "run"])
    experiment = Experiment.from_json(
        json.loads((tmp_path / "run" / "config.json").read_bytes())["run"]["experiment"]
    )
    assert run.shape is not None
    expected = predicted_memory(replace(experiment, model=run.shape), "cpu").peak_bytes
    assert run.predicted_bytes == expected
    text = Elements(render([run])).text
    assert format_bytes(expected) in text
    assert run.peak_bytes == 123_400_000
    assert format_bytes(run.peak_bytes) in text
    (other,) = read_runs(
        [write_run(tmp_path / "other")]
    )  # of another version: its settings are not all there
    assert (other.predicted_bytes, other.peak_bytes) == (None, None)
    assert "not measured" not in text
    assert "not measured" in Elements(render([other])).text


def test_the_same_runs_give_the_same_figures(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    files = []
    for folder in ("a", "b"):
        assert report(tmp_path / "run", f"--out={tmp_path / 'r.html'}", f"--figures={tmp_path / folder}") == 0
        files.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert files[0] == files[1]


def test_runs_of_one_name_are_told_apart_and_none_is_shown_twice(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / folder / "run") for folder in ("a", "b")]
    found = find_runs([*runs, runs[0], tmp_path / "a"])
    assert [run.name for run in read_runs(found)] == ["a/run", "b/run"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: give at least one run to report on"),
        (["nothing"], "error: nothing is no run and holds none: a run has a config.json"),
        (["run", "--out=run"], "error: --out run is a directory: give the name of a file"),
        (["spoilt"], "error: spoilt/config.json is not the configuration of a run"),
        (["listed"], "error: listed/config.json is not the configuration of a run"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    for name, content in (("spoilt", "{"), ("listed", "[1]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    assert report(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert not (tmp_path / "report.html").exists()
