"""hornbook.bpe on real text: every engine, number of threads and way to encode agree, and so do its peers."""

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hornbook.bpe import GPT2_PATTERN, Tokenizer, library, train_bpe

DATA = Path(__file__).parents[2] / "shared" / "data"
FILES = sorted(DATA.rglob("*.txt"))
END_OF_TEXT = "<|endoftext|>"
VOCAB_SIZE = 5_000
PURE_BYTES = 100_000  # pure Python is slow: this much of each file
PEER_CHARACTERS = 500_000  # of each file, where a peer or a pattern is slow

pytestmark = pytest.mark.skipif(not FILES, reason=f"no real text in {DATA}")
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DATA)))


@cache
def tokenizer_of(path: Path) -> Tokenizer:
    return Tokenizer(*train_bpe(path, VOCAB_SIZE, [END_OF_TEXT]), [END_OF_TEXT])


@cache
def text_of(path: Path) -> str:
    return path.read_bytes().decode()


@pytest.fixture
def pure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def forget() -> None:
        library.load.cache_clear()
        library._find.cache_clear()

    monkeypatch.setenv("HORNBOOK_BPE_PURE", "1")
    forget()
    assert library.load() is None
    yield
    forget()


@each_file
def test_every_number_of_threads_learns_the_same_merges(path: Path) -> None:
    expected = train_bpe(path, VOCAB_SIZE, [END_OF_TEXT], num_threads=1)
    assert len(expected[1]) == VOCAB_SIZE - 257
    for num_threads in (2, 3):
        assert train_bpe(path, VOCAB_SIZE, [END_OF_TEXT], num_threads=num_threads) == expected


@pytest.fixture
def sample(path: Path, tmp_path: Path) -> Path:
    """The beginning of a file, cut at a character."""
    start = tmp_path / "start.txt"
    start.write_bytes(path.read_bytes()[:PURE_BYTES].decode(errors="ignore").encode())
    return start


@pytest.fixture
def compiled_results(sample: Path, path: Path) -> tuple[list[tuple[bytes, bytes]], list[int]]:
    """Made before the fixture `pure` takes the compiled core away."""
    merges = train_bpe(sample, 1_000, [END_OF_TEXT])[1]
    return merges, tokenizer_of(path).encode(text_of(sample))


@each_file
def test_pure_python_gives_the_same_merges_and_ids(
    path: Path, sample: Path, compiled_results: tuple[list[tuple[bytes, bytes]], list[int]], pure: None
) -> None:
    merges, ids = compiled_results
    assert train_bpe(sample, 1_000, [END_OF_TEXT])[1] == merges
    compiled = tokenizer_of(path)
    tokenizer = Tokenizer(compiled.vocab, compiled.merges, [END_OF_TEXT])
    assert tokenizer.encode(text_of(sample)) == ids


@each_file
def test_every_way_to_encode_gives_the_same_ids_and_decoding_the_text(path: Path, tmp_path: Path) -> None:
    tokenizer, text = tokenizer_of(path), text_of(path)
    ids = tokenizer.encode_to_numpy(text)
    assert tokenizer.encode(text) == ids.tolist()
    assert np.array_equal(tokenizer.encode_to_numpy(path.read_bytes()), ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids.tolist()) == path.read_bytes()
    assert list(tokenizer.encode_iterable(odd_chunks(text))) == ids.tolist()

    documents = text.split(END_OF_TEXT)
    (special,) = tokenizer.encode(END_OF_TEXT)
    joined = []
    for encoded in tokenizer.encode_batch(documents, num_threads=2):
        joined += [*encoded, special]
    assert joined[:-1] == ids.tolist()

    ordinary = "".join(documents)
    assert tokenizer.encode_ordinary(ordinary) == tokenizer.encode(ordinary)

    for num_threads in (1, 2):
        tokens = tmp_path / f"{num_threads}.bin"
        manifest = tokenizer.encode_file(path, tokens, num_threads=num_threads)
        assert manifest.num_tokens == len(ids)
        assert np.array_equal(np.fromfile(tokens, dtype=manifest.dtype), ids)


def odd_chunks(text: str) -> Iterator[str]:
    """Pieces from none to thousands of characters: they end anywhere, in special tokens too."""
    draw = random.Random(len(text))
    place = 0
    while place < len(text):
        size = draw.choice([0, 1, 2, 3, 17, 257, 65_537])
        yield text[place : place + size]
        place += size


@each_file
def test_tiktoken_gives_the_same_ids(path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    tokenizer, text = tokenizer_of(path), text_of(path)
    ranks = {token: token_id for token_id, token in tokenizer.vocab.items()}
    special = {END_OF_TEXT: ranks.pop(END_OF_TEXT.encode())}
    peer = tiktoken.Encoding("same", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special)
    assert np.array_equal(tokenizer.encode_to_numpy(text), peer.encode_to_numpy(text, allowed_special="all"))


@each_file
def test_tokenizers_gives_the_same_ids(path: Path, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizer_of(path)
    tokenizer.save_huggingface(tmp_path / "tokenizer.json")
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    documents = text_of(path).split(END_OF_TEXT)
    assert tokenizer.encode_batch(documents) == [
        encoding.ids for encoding in peer.encode_batch_fast(documents)
    ]


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_openais_own_vocabularies_give_the_ids_of_tiktoken(
    openai: Callable[[str], tuple[Tokenizer, Any]], name: str
) -> None:
    tokenizer, peer = openai(name)
    for path in FILES:
        text = text_of(path) if name == "gpt2" else text_of(path)[:PEER_CHARACTERS]
        ids = tokenizer.encode_to_numpy(text)
        assert np.array_equal(ids, peer.encode_to_numpy(text, allowed_special="all")), path
        assert tokenizer.decode(ids) == text, path


def test_gpt2s_own_files_give_the_ids_of_hugging_faces_tokenizer(
    openai: Callable[[str], tuple[Tokenizer, Any]], gpt2_peer: Any
) -> None:
    tokenizer, _ = openai("gpt2")
    for path in FILES:
        documents = text_of(path).split(END_OF_TEXT)
        expected = [encoding.ids for encoding in gpt2_peer.encode_batch_fast(documents)]
        assert tokenizer.encode_batch(documents) == expected, path
