"""The fuzz targets hold on their corpus and on a few mutations of it; `nox -s fuzz` gives them more."""

from random import Random

import pytest

from fuzz_input import mutated
from fuzz_run import CORPUS, NAMES, find_target
from hornbook.bpe.library import load

CORE = {"utf8", "scan", "count", "learn", "encode", "decode"}
FORMATS = {"gpt2", "huggingface", "tiktoken", "directory", "counts"}


def test_every_target_has_a_corpus() -> None:
    assert set(NAMES) == CORE | FORMATS


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds(name: str) -> None:
    if name in CORE and load() is None:
        pytest.skip("compares the compiled core with pure Python, which was asked for")
    target = find_target(name)
    corpus = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    random = Random(name)
    for data in [*corpus, b"", *(mutated(corpus, random) for _ in range(100))]:
        try:
            target(data)
        except Exception as error:
            error.add_note(f"target {name}, input {data!r}")
            raise
