"""A large file is read again when it may have changed, and not otherwise."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from hornbook.trainer import known_sha256, open_token_file, write_token_file


def record_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256.json")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as older than the clock's coarseness, and was read once."""
    monkeypatch.setattr("hornbook.trainer.unchanged._COARSENESS_NS", -(10**18))
    path = tmp_path / "data.bin"
    path.write_bytes(np.random.default_rng(0).bytes(9_000_000))
    assert known_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record_of(path).exists()
    return path


def test_what_is_as_it_was_is_not_read_again(old: Path) -> None:
    text = record_of(old).read_text()
    digest = known_sha256(old)
    record_of(old).write_text(text.replace(digest, "f" * 64))
    assert known_sha256(old) == "f" * 64  # it believes what is written down


def test_any_write_is_found_even_if_size_and_time_are_put_back(old: Path) -> None:
    before = old.stat()
    with old.open("r+b") as file:
        file.seek(1_234_567)  # between the samples
        file.write(b"!")
    os.utime(old, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert old.stat().st_mtime_ns == before.st_mtime_ns
    assert known_sha256(old) == hashlib.sha256(old.read_bytes()).hexdigest()


def test_a_disk_that_changes_a_sample_by_itself_is_found(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with old.open("r+b") as file:
        file.write(b"!")
    # As if nobody had written: the times are what they were.
    text = record_of(old).read_text()
    status = old.stat()
    for name, value in (("written_ns", status.st_mtime_ns), ("changed_ns", status.st_ctime_ns)):
        was = text.split(f'"{name}": ')[1].split(",")[0]
        text = text.replace(was, str(value))
    record_of(old).write_text(text)
    assert known_sha256(old) == hashlib.sha256(old.read_bytes()).hexdigest()


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b"[" * 10_000, b'{"version": 1, "version": 1}'])
def test_a_record_that_is_not_whole_is_none(old: Path, raw: bytes) -> None:
    record_of(old).write_bytes(raw)
    assert known_sha256(old) == hashlib.sha256(old.read_bytes()).hexdigest()


def test_a_file_too_young_to_tell_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    for content in (b"a", b"b", b""):
        path.write_bytes(content)
        assert known_sha256(path) == hashlib.sha256(content).hexdigest()
        assert not record_of(path).exists()


def test_a_token_file_that_was_edited_is_found_and_a_wrong_record_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hornbook.trainer.unchanged._COARSENESS_NS", -(10**18))
    path = tmp_path / "t.bin"
    manifest = write_token_file(path, [np.arange(200_000) % 300], vocab_size=300, tokenizer="a", text="b")
    open_token_file(path)
    record_of(path).write_text(record_of(path).read_text().replace(manifest.sha256, "0" * 64))
    open_token_file(path)
    with path.open("r+b") as file:
        file.seek(99_999)
        file.write(b"\1")
    with pytest.raises(ValueError, match=rf"{path}: sha256 is [0-9a-f]+, expected {manifest.sha256}"):
        open_token_file(path)
    open_token_file(path, verify="never")
    with pytest.raises(ValueError, match="text is b, expected c"):
        open_token_file(path, text="c")
