"""Which texts the flags mean, and the texts that every machine has."""

import ast
import gzip
from pathlib import Path

import pytest

from recipes import texts as module
from recipes.download import OPENWEBTEXT, TINYSTORIES
from recipes.library import write_library
from recipes.stories import END_OF_TEXT
from recipes.texts import TextFlags, check_text, choose_texts, provide


@pytest.mark.parametrize(
    ("wanted", "files", "instead"),
    [("tinystories", TINYSTORIES, "sample"), ("openwebtext", OPENWEBTEXT, "python")],
)
def test_auto_is_the_data_set_where_it_is_on_disk_and_else_what_takes_its_place(
    tmp_path: Path, wanted: module.DataSet, files: dict[str, str], instead: str
) -> None:
    flags = TextFlags(data_dir=tmp_path)
    assert choose_texts(flags, wanted).source == instead
    assert " not " in choose_texts(flags, wanted).name  # it says that it is not the data set
    for name in files:
        (tmp_path / name.removesuffix(".gz")).write_text("x")
    assert choose_texts(flags, wanted).source == wanted


def test_openwebtext_is_downloaded_and_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(url: str, path: Path, *, progress: object) -> None:
        asked.append(url)
        path.write_bytes(gzip.compress(path.name.encode()))

    monkeypatch.setattr(module, "download", download)
    texts = choose_texts(TextFlags(data="openwebtext", data_dir=tmp_path / "data"))
    provide(texts)
    provide(texts)
    assert asked == list(OPENWEBTEXT.values())
    assert (texts.train.read_text(), texts.valid.read_text()) == ("owt_train.txt.gz", "owt_valid.txt.gz")


def test_pythons_library_is_text_of_which_a_part_is_held_out(tmp_path: Path) -> None:
    texts = choose_texts(TextFlags(data="python", data_dir=tmp_path, sample_megabytes=1))
    provide(texts)
    check_text(texts.train, "train", 256)
    check_text(texts.valid, "valid", 256)
    train, valid = (
        {document.strip() for document in path.read_text(encoding="utf-8").split(f"\n{END_OF_TEXT}\n")}
        for path in (texts.train, texts.valid)
    )
    assert train & valid == {""}
    assert texts.train.stat().st_size > 10**6
    ast.parse(min(train - {""}, key=len))
    again = tmp_path / "again.txt"
    write_library(again, num_bytes=10**6, split="train")
    assert again.read_bytes() == texts.train.read_bytes()


def test_a_python_without_a_library_in_source_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(ValueError, match="give a text of your own with --train-text"):
        write_library(tmp_path / "x.txt", num_bytes=10**6, split="train")
    assert list(tmp_path.iterdir()) == []


def test_more_stories_than_the_disk_has_room_for_are_refused_before_the_first_is_written(
    tmp_path: Path,
) -> None:
    texts = choose_texts(TextFlags(data="sample", data_dir=tmp_path / "data", sample_megabytes=10**12))
    with pytest.raises(OSError, match=r"no room for the stories in .*data: 1,000,000,000,000,000,000 bytes"):
        provide(texts)
    assert list(tmp_path.iterdir()) == []
