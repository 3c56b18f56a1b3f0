"""Stretches of a file: the same text, wherever they end, read by whoever wants it and not before."""

import gc
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.bpe.cuts import SafeCuts
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.stretches import FileStretches

if not hasattr(os, "preadv"):
    pytest.skip("files are read in another way here", allow_module_level=True)

GPT2 = find_pattern("gpt2")
CUTS = SafeCuts(GPT2, ["<e>"])


@given(
    text=st.lists(st.sampled_from(["a", " ", "  ", "\n", "<e>", "<", "日", "a" * 50, " b"])).map("".join),
    size=st.integers(1, 60),
)
def test_stretches_are_the_whole_text_and_end_at_safe_cuts(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "stretches.txt"
    path.write_text(text, encoding="utf-8", newline="")
    file = FileStretches(path, size)
    parts = [file.read(begin, end) for begin, end in file.places(CUTS)]
    assert b"".join(parts) == text.encode()
    assert all(parts)
    pretokens = [piece for part in parts for piece in pretokens_of(str(part, "utf-8"))]
    assert pretokens == pretokens_of(text)


def pretokens_of(text: str) -> list[str]:
    return [piece for segment in text.split("<e>") for piece in GPT2.split(segment)]


@pytest.mark.parametrize("length", [1_000, 5_000, 70_000, 1_000_000])
def test_a_cut_is_found_however_far_before_the_end_of_a_stretch_it_is(tmp_path: Path, length: int) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes((b"one two " + b"x" * length) * (5 + 400_000 // length))
    file = FileStretches(path, 100_000)
    places = list(file.places(CUTS))
    assert b"".join([file.read(*place) for place in places]) == path.read_bytes()
    if length < 100_000:
        assert all(end - begin <= 100_000 + length for begin, end in places)
        assert len(places) > 1
        assert all(bytes(file.read(begin, begin + 1)) == b" " for begin, _ in places[1:])


def test_a_text_is_read_when_it_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"old text, of which this is all ")
    file = FileStretches(path, 100_000)
    ((begin, end),) = file.places(CUTS)
    path.write_bytes(b"new text, of which that is all ")
    assert bytes(file.read(begin, end)) == b"new text, of which that is all "


def test_memory_serves_again_when_it_was_given_back_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"one two " * 1_000)
    file = FileStretches(path, 1_000)
    first, second = file.read(0, 800), file.read(804, 1_604)
    assert (bytes(first[:8]), bytes(second[:8])) == (b"one two ", b"two one ")
    memory = first.obj
    file.take_back(first)
    assert file.read(808, 1_000).obj is memory
    assert bytes(second[:8]) == b"two one "
    file.take_back(file.read(0, 8_000))  # longer than a stretch: not kept
    assert len(file.read(0, 8)) == 8


def test_the_file_is_closed_when_nobody_refers_to_it(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"text")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = FileStretches(path, 100_000)
        descriptor = file._file.fileno()
        del file
        gc.collect()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
