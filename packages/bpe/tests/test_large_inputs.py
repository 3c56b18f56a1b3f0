"""Inputs of sizes that nobody would try by hand: exact, and in memory that doesn't grow with them."""

from pathlib import Path

import pytest

from hornbook.bpe import Tokenizer, count_pretokens, train_bpe
from hornbook.bpe.library import load

pytestmark = pytest.mark.skipif(load() is None, reason="pure Python takes minutes")

SENTENCE = b" The cat's 12 kittens sat, and sat; it's n\xc3\xa9e \xe6\x97\xa5\xe6\x9c\xac!"
NUM_SENTENCES = 200_000_000 // len(SENTENCE)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 MB without a line end."""
    path = tmp_path_factory.mktemp("large") / "line.txt"
    with path.open("wb") as file:
        for begin in range(0, NUM_SENTENCES, 10_000):
            file.write(SENTENCE * min(10_000, NUM_SENTENCES - begin))
    return path


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_line_of_200_mb_counts_as_its_sentences_do(line: Path, num_threads: int) -> None:
    once = dict(count_pretokens(iter([SENTENCE.decode()]), []).items())
    counts = count_pretokens(line, [], num_threads=num_threads)
    assert dict(counts.items()) == {word: NUM_SENTENCES * count for word, count in once.items()}
    assert counts.num_bytes == line.stat().st_size


def test_a_line_of_200_mb_is_encoded_as_its_sentences_are(line: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(*train_bpe(iter([SENTENCE.decode()]), 280, []), [])
    manifest = tokenizer.encode_file(line, tmp_path / "ids", num_threads=2)
    once = tokenizer.encode_to_numpy(SENTENCE.decode()).tobytes()
    assert manifest.num_tokens * 2 == NUM_SENTENCES * len(once)
    with (tmp_path / "ids").open("rb") as file:
        while ids := file.read(len(once) * 100_000):
            assert ids == once * (len(ids) // len(once))
