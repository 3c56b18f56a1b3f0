"""What the documents show is what happens."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(path for path in ROOT.glob("docs/*.md") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.name))
def test_the_examples_of_a_document_give_what_stands_below_them(path: Path) -> None:
    failed, tried = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert tried > 0
    assert failed == 0


def test_the_unicode_questions_are_among_them() -> None:
    assert "unicode.md" in [path.name for path in WITH_EXAMPLES]
