"""The report in a real browser: nothing is asked of the network, every figure is drawn, hover and zoom work.

Wants playwright (group "browser") and a Chromium on the PATH, such as Debian's (`apt-get install chromium`).
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from recipes.report import find_runs, read_runs, write_report
from reported import HOSTILE, write_outcomes, write_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FIGURES = ["loss-by-step", "loss-by-time", "bits-by-tokens", "learning-rate", "gradient-norm", "throughput"]

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no Chromium on this machine: apt-get install chromium"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # playwright's own pipes
]


@dataclass
class Opened:
    """A page, and what it said and asked for while it was open."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # A container's root has no user namespaces to make a sandbox of.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Any, report: Path, **options: Any) -> Iterator[Opened]:
    """Open a report from the disk; at the end it must have said nothing and asked for nothing but itself."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "offline": True} | options)
    page = context.new_page()
    one = Opened(page)
    page.on("console", lambda message: one.said.append(message.text))
    page.on("pageerror", lambda error: one.said.append(str(error)))
    page.on("dialog", lambda dialog: one.said.append(dialog.message))
    page.on("request", lambda request: one.asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield one
    assert one.said == []
    assert [url for url in one.asked if not url.startswith("blob:")] == [report.as_uri()]
    context.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for lr, loss in ((1e-3, 3.0), (1e-2, 2.0), (1e-1, 7.0)):
        write_run(folder / f"lr-{lr}", lr=lr, val_loss=loss, diverged=lr == 1e-1)
    write_report(read_runs(find_runs([folder])), folder / "report.html", command="uv run apps/report.py")
    return folder / "report.html"


def curves(page: Any, figure: str) -> list[str]:
    return list(
        page.eval_on_selector_all(
            f"#{figure} .curve:not(.fate)", "nodes => nodes.map(n => n.getAttribute('d'))"
        )
    )


def ticks(page: Any, figure: str) -> list[str]:
    return list(page.eval_on_selector_all(f"#{figure} .tick", "nodes => nodes.map(n => n.textContent)"))


def test_every_figure_is_drawn(browser: Any, report: Path) -> None:
    with opened(browser, report) as one:
        figures = one.page.eval_on_selector_all("figure", "nodes => nodes.map(n => n.id)")
        assert figures == ["final-loss", *FIGURES]
        for figure in FIGURES:
            drawn = curves(one.page, figure)
            assert len(drawn) >= 3
            for path in drawn:
                assert path.count("L") >= 3
                assert not re.search("NaN|Infinity|undefined", path)
            titles = one.page.eval_on_selector_all(f"#{figure} .axis-title", "n => n.map(x => x.textContent)")
            assert all(titles) and len(titles) == 2
            assert len(ticks(one.page, figure)) >= 6
        assert len(one.page.query_selector_all("#final-loss circle")) == 2
        assert one.page.eval_on_selector_all("#final-loss .axis-title", "n => n[0].textContent") == (
            "optimizer.max_lr (log)"
        )


def fates(page: Any, figure: str) -> list[str]:
    """What the marks of runs that were cut short say, and that each lies within its figure."""
    inside = """nodes => nodes.every(node => {
        const a = node.getBoundingClientRect(), b = node.closest("svg").getBoundingClientRect();
        return a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
    })"""
    assert page.eval_on_selector_all(f"#{figure} .fate", inside)
    return list(page.eval_on_selector_all(f"#{figure} .fate title", "n => n.map(x => x.textContent)"))


@pytest.mark.parametrize("which", ["both", "val", "train"])
def test_a_run_that_was_cut_short_is_marked_where_it_ended(browser: Any, tmp_path: Path, which: str) -> None:
    write_run(tmp_path / "fine", lr=1e-3)
    write_run(tmp_path / "apart", lr=1e-2, losses=[5.0] * 130 + [900.0], diverged=True)  # 131 points
    write_run(tmp_path / "at-once", lr=1e-1, losses=[5.0, 7.0], diverged=True)  # before it was evaluated
    write_run(tmp_path / "behind", lr=1.0, losses=[5.0] * 20, ended=False)
    write_outcomes(
        tmp_path, fine="finished", **{"apart": "diverged", "at-once": "diverged", "behind": "pruned"}
    )
    write_report(read_runs(find_runs([tmp_path])), tmp_path / "report.html")
    expected = ["apart: diverged", "at-once: diverged", "behind: pruned"]
    with opened(browser, tmp_path / "report.html") as one:
        one.page.select_option("#which", which)
        for figure in ("final-loss", "loss-by-step", "loss-by-time"):
            assert fates(one.page, figure) == expected
        words = [tick for tick in ticks(one.page, "loss-by-step") if tick in ("diverged", "pruned")]
        assert sorted(words) == ["diverged", "diverged", "pruned"]
        one.page.click("#legend button >> nth=0")
        assert fates(one.page, "loss-by-step") == expected[1:]


@pytest.mark.parametrize("which", ["both", "val", "train"])
def test_a_run_that_diverges_flattens_no_other(browser: Any, tmp_path: Path, which: str) -> None:
    losses = {"fine": [8.0 - step / 10 for step in range(40)], "wild": [8.0] + [900.0] * 39}
    for name, ones in losses.items():
        write_run(tmp_path / name, lr=1e-3 if name == "fine" else 1.0, losses=ones)
    write_report(read_runs(find_runs([tmp_path])), tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html") as one:
        one.page.select_option("#which", which)
        for figure, first in (("loss-by-step", 8.0), ("loss-by-time", 8.0), ("bits-by-tokens", 8.0 / 3)):
            labels = one.page.eval_on_selector_all(
                f"#{figure} g > .gridline + .tick", "nodes => nodes.map(n => Number(n.textContent))"
            )
            assert len(labels) > 2 and max(labels) <= 1.2 * first


def test_pointing_at_a_curve_tells_its_numbers(browser: Any, report: Path) -> None:
    with opened(browser, report) as one:
        page = one.page
        page.fill("#smooth", "0")
        plot = page.locator("#loss-by-step .plot")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 120)
        told = page.inner_text("#loss-by-step .tip")
        step = int(re.findall(r"step (\d+)", told)[0])
        series = page.evaluate("JSON.parse(document.getElementById('data').textContent).runs[0].series")
        expected = series["train_loss"]["y"][step - 1]
        (shown,) = re.findall(r"lr-0.001, training\n([\d.]+)", told)
        assert float(shown) == pytest.approx(expected, rel=1e-4)
        page.mouse.move(box["x"] + 5, box["y"] - 40)
        assert page.locator("#loss-by-step .tip").is_hidden()


def test_dragging_looks_closer_in_all_figures_of_that_axis_and_a_double_click_shows_all(
    browser: Any, report: Path
) -> None:
    with opened(browser, report) as one:
        page = one.page
        before = {figure: ticks(page, figure) for figure in FIGURES}
        plot = page.locator("#loss-by-step .plot")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 100, steps=3)
        page.mouse.up()
        after = {figure: ticks(page, figure) for figure in FIGURES}
        changed = {figure for figure in FIGURES if before[figure] != after[figure]}
        assert changed >= {"loss-by-step", "gradient-norm"}
        assert not changed & {"loss-by-time", "bits-by-tokens"}
        plot.dblclick()
        assert {figure: ticks(page, figure) for figure in FIGURES} == before
        plot.focus()
        page.keyboard.press("+")
        assert ticks(page, "loss-by-step") != before["loss-by-step"]
        page.keyboard.press("ArrowRight")
        assert "step" in page.inner_text("#loss-by-step .tip")
        page.keyboard.press("Escape")
        assert ticks(page, "loss-by-step") == before["loss-by-step"]


def test_the_controls_change_the_figures(browser: Any, report: Path) -> None:
    with opened(browser, report) as one:
        page = one.page
        plain = curves(page, "loss-by-step")
        page.check("#logx")
        assert curves(page, "loss-by-step") != plain
        assert "step (log)" in page.inner_html("#loss-by-step svg")
        page.uncheck("#logx")
        assert curves(page, "loss-by-step") == plain
        page.fill("#smooth", "0.97")
        assert curves(page, "loss-by-step") != plain
        page.select_option("#which", "val")
        assert len(curves(page, "loss-by-step")) == 3
        page.click("#legend button >> nth=0")
        assert len(curves(page, "loss-by-step")) == 2
        page.click("th:has-text('validation loss')")
        first = page.inner_text(".sortable tbody tr td")
        assert first == "lr-0.01"
        page.click("th:has-text('validation loss')")
        assert page.inner_text(".sortable tbody tr td") == "lr-0.1"


def test_a_figure_is_saved_as_svg_and_as_png(browser: Any, report: Path, tmp_path: Path) -> None:
    with opened(browser, report) as one:
        for kind in ("svg", "png"):
            with one.page.expect_download() as waiting:
                one.page.click(f"#loss-by-step .plot-tools button:text-is('{kind.upper()}')")
            waiting.value.save_as(tmp_path / f"figure.{kind}")
        drawing = (tmp_path / "figure.svg").read_text(encoding="utf-8")
        assert "var(" not in drawing
        assert "lr-0.001" in drawing  # the names of the curves go with it
        pixels = imread(tmp_path / "figure.png")
        assert pixels.shape[1] > 1000
        assert len({tuple(pixel) for pixel in pixels[::7, ::7].reshape(-1, 4).tolist()}) > 5


def test_nothing_from_a_hostile_run_runs(browser: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run<img src=x onerror=alert(1)>", text=HOSTILE)
    write_report(read_runs([run]), tmp_path / "report.html", title=HOSTILE, command=HOSTILE)
    with opened(browser, tmp_path / "report.html") as one:
        assert one.page.evaluate("window.owned") is None
        assert one.page.query_selector_all("img, iframe, object, embed") == []
        assert HOSTILE.split("\u2028")[0].strip() in one.page.text_content("#samples pre")


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (1280, 2)])
def test_it_fits_a_phone_and_a_desk(browser: Any, report: Path, width: int, columns: int) -> None:
    phone = {"has_touch": True, "is_mobile": True} if width < 500 else {}
    with opened(browser, report, viewport={"width": width, "height": 800}, **phone) as one:
        assert one.page.evaluate("document.documentElement.scrollWidth") == width
        places = {round(figure.bounding_box()["x"]) for figure in one.page.locator("figure").all()}
        assert len(places) == columns
        if phone:
            one.page.locator("#loss-by-step .plot").scroll_into_view_if_needed()
            one.page.locator("#loss-by-step .plot").tap(position={"x": 180, "y": 100})
            assert "training" in one.page.inner_text("#loss-by-step .tip")


def test_it_is_dark_where_dark_is_preferred_and_light_on_paper(browser: Any, report: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, report, color_scheme="dark") as one:
        assert one.page.evaluate(paper) == "rgb(18, 21, 27)"
        one.page.emulate_media(media="print", color_scheme="dark")
        assert one.page.evaluate(paper) == "rgb(255, 255, 255)"
        assert one.page.locator("#which").is_hidden()
        assert one.page.locator("#loss-by-step svg").is_visible()


def test_without_scripts_the_tables_stand_and_the_page_says_what_is_missing(
    browser: Any, report: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert "switched off" in page.text_content("noscript")
    assert "2.0000" in page.text_content("#results table")
    context.close()
