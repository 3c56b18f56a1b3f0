import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.trainer import open_token_file, token_dtype, write_token_file


@given(st.lists(st.lists(st.integers(0, 69_999), max_size=20), max_size=5), st.sampled_from([65_536, 70_000]))
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[int]], vocab_size: int
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "t.bin"
    arrays = [np.array(chunk, np.int64) % vocab_size for chunk in chunks]
    manifest = write_token_file(path, iter(arrays), vocab_size=vocab_size, tokenizer="a", text="b")
    file = open_token_file(path, vocab_size=vocab_size, tokenizer="a", verify="always")
    assert file.tokens.tolist() == [token for array in arrays for token in array.tolist()]
    assert file.num_tokens == manifest.num_tokens
    assert file.tokens.dtype.itemsize == (2 if vocab_size == 65_536 else 4)


def test_the_type_holds_the_greatest_id() -> None:
    for vocab_size in (1, 257, 65_536, 65_537, 2**32):
        assert np.iinfo(token_dtype(vocab_size)).max >= vocab_size - 1
    with pytest.raises(ValueError, match="vocab_size must be between"):
        token_dtype(0)


@pytest.mark.parametrize("bad", [[3, -1], [257], [2**16 + 1]])
def test_an_id_outside_the_vocabulary_is_refused_and_nothing_is_left(tmp_path: Path, bad: list[int]) -> None:
    with pytest.raises(ValueError, match="token ids must be 0 to 256, got"):
        write_token_file(
            tmp_path / "t.bin", [np.array([1]), np.array(bad)], vocab_size=257, tokenizer="", text=""
        )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "t.bin"
    write_token_file(path, [np.arange(100)], vocab_size=300, tokenizer="ours", text="x")
    return path


def test_another_vocabulary_or_tokenizer_is_refused_with_both_values(written: Path) -> None:
    with pytest.raises(ValueError, match="vocab_size is 300, expected 301"):
        open_token_file(written, vocab_size=301)
    with pytest.raises(ValueError, match="tokenizer is ours, expected theirs"):
        open_token_file(written, tokenizer="theirs")


def test_a_cut_or_changed_file_is_found(written: Path) -> None:
    raw = written.read_bytes()
    written.write_bytes(raw[:-2])
    with pytest.raises(ValueError, match="size in bytes is 198, expected 200"):
        open_token_file(written)
    written.write_bytes(b"\1" + raw[1:])
    with pytest.raises(ValueError, match="sha256 is"):
        open_token_file(written, verify="always")


def test_a_manifest_may_say_where_documents_begin_or_know_nothing_of_it(written: Path) -> None:
    manifest = written.with_name("t.bin.json")
    raw = json.loads(manifest.read_text())
    assert raw.pop("documents") is None
    places = written.with_name("t.bin.documents")
    places.write_bytes(bytes(16))
    known = {"end": "<e>", "count": 2, "sha256": sha256(bytes(16)).hexdigest()}
    for more in ({}, {"documents": None}, {"documents": known}):
        manifest.write_text(json.dumps(raw | more))
        file = open_token_file(written, verify="always")
        assert file.manifest.documents == more.get("documents")
        assert file.num_tokens == 100
    assert open_token_file(written, document_end="<e>").manifest.documents == known
    with pytest.raises(ValueError, match=r"t\.bin: end of documents is <e>, expected <f>"):
        open_token_file(written, document_end="<f>")
    places.unlink()
    with pytest.raises(FileNotFoundError, match=r"t\.bin\.documents"):
        open_token_file(written)


def test_a_missing_or_foreign_manifest_is_refused(written: Path) -> None:
    manifest = written.with_name("t.bin.json")
    raw = json.loads(manifest.read_text())
    for content, message in (
        ("{", "is not the manifest of a token file"),
        ("[]", "is not the manifest of a token file"),
        (json.dumps(raw | {"num_tokens": "100"}), "is not the manifest of a token file"),
        (json.dumps(raw | {"more": 1}), "is not the manifest of a token file"),
        (json.dumps(raw | {"documents": 3}), "is not the manifest of a token file"),
        (json.dumps(raw | {"documents": {"end": "<e>"}}), "is not the manifest of a token file"),
        (json.dumps(raw | {"version": 2}), "has version 2, this hornbook reads version 1"),
        (json.dumps(raw | {"dtype": "<u4"}), "dtype is <u4, expected <u2"),
    ):
        manifest.write_text(content)
        with pytest.raises(ValueError, match=message):
            open_token_file(written)
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match=r"t\.bin\.json is missing"):
        open_token_file(written)
