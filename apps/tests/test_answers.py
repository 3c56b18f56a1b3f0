import subprocess
import sys
from pathlib import Path

from recipes.accounting_answers import answers

ROOT = Path(__file__).parents[2]


def test_the_docs_show_what_the_app_prints() -> None:
    """To renew: uv run apps/answers.py > docs/answers.md."""
    assert (ROOT / "docs" / "answers.md").read_text(encoding="utf-8") == answers() + "\n"


def test_the_answers_are_the_true_ones() -> None:
    text = answers()
    for figure in (
        "2,127,057,600",
        "4,513,336,524,800",
        "33.13 times",
        "**B = 2**",
        "29,778,806,400",
        "6,583.6 days",
    ):
        assert figure in text


def test_the_app_prints_them() -> None:
    command = [sys.executable, str(ROOT / "apps" / "answers.py")]
    assert (
        subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout == answers() + "\n"
    )
