"""Where text comes from: whatever it is, the same text arrives, or an error names what is wrong."""

import gzip
import importlib.util
import io
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import sources
from hornbook.bpe.cuts import SafeCuts
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.sources import Block, Source, open_source

CUTS = SafeCuts(find_pattern("gpt2"), ["<e>"])
TEXT = "\ufeffthe 日本 cat<e>\r\n sat\0 on\n\nthe mat. " * 50
has_zstd = sys.version_info >= (3, 14) or importlib.util.find_spec("zstandard") is not None
only_with_zstd = pytest.mark.skipif(not has_zstd, reason="takes Python 3.14 or the package zstandard")


def blocks(source: Source, size: int = 100) -> list[Block]:
    found = []
    for block in source.blocks(CUTS, size):
        block.give(lambda text: str(text, "utf-8"))
        found.append(block)
    return found


def read(input_path: Any, size: int = 100) -> bytes:
    return b"".join(block.view for block in blocks(open_source(input_path), size))


def zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.compress(data)
    compressed: bytes = importlib.import_module("zstandard").compress(data)
    return compressed


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd}
compressed_kinds = pytest.mark.parametrize("kind", ["gz", pytest.param("zst", marks=only_with_zstd)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT.encode())
    return file


def test_a_file_is_read_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(path) == read(str(path)) == read([path]) == TEXT.encode()
    monkeypatch.chdir(path.parent)
    assert read("text.txt") == TEXT.encode()


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.integers(0, 60)), st.integers(1, 20))
def test_pieces_of_one_text_are_that_text_wherever_they_end(text: str, borders: list[int], size: int) -> None:
    places = [0, *sorted(borders), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert read(iter(pieces), size) == text.encode()
    assert read((piece for piece in pieces), size) == text.encode()


def test_open_files_are_read_whether_of_bytes_or_text(path: Path) -> None:
    with path.open("rb") as file:
        assert read(file) == TEXT.encode()
    with path.open(encoding="utf-8", newline="") as text_file:
        assert read(text_file) == TEXT.encode()
    assert read(io.BytesIO(TEXT.encode())) == read(io.StringIO(TEXT, newline="")) == TEXT.encode()


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), encoding="latin-1"))
    source = open_source("-")
    assert (source.name, source.total) == ("standard input", None)
    assert b"".join(block.view for block in blocks(source)) == TEXT.encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[TEXT.encode()])
    writer.start()
    source = open_source(pipe)
    assert source.total is None
    assert b"".join(block.view for block in blocks(source)) == TEXT.encode()
    writer.join()


def test_each_file_is_a_text_of_its_own(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("b.txt", "a.txt", "empty.txt")]
    for file, text in zip(files, ("one wo", "rd two", ""), strict=True):
        file.write_text(text, encoding="utf-8")
    found = blocks(open_source(tuple(files)))
    assert [(block.view, block.name, block.offset) for block in found] == [
        (b"one wo", str(files[0]), 0),
        (b"rd two", str(files[1]), 0),
    ]


def test_a_glob_is_its_files_in_order_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("c.txt", "deep/er/a.txt", "b.txt", "other.md", "folder.txt/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert read(f"{tmp_path}/*.txt") == b"b.txtc.txt"
    monkeypatch.chdir(tmp_path)
    assert read("**/[ab].txt") == b"b.txtdeep/er/a.txt"
    assert read(["c*", "other.md"]) == b"c.txtother.md"
    # A file that is really called so comes before what the pattern matches.
    (tmp_path / "[b].txt").write_text("literally", encoding="utf-8")
    assert read("[b].txt") == b"literally"


@compressed_kinds
def test_compressed_files_are_read_in_all_their_parts(kind: str, tmp_path: Path) -> None:
    compress = COMPRESS[kind]
    file = tmp_path / f"text.txt.{kind}"
    file.write_bytes(compress(TEXT.encode()))
    assert read(file) == TEXT.encode()
    file.write_bytes(b"".join(compress(letter.encode()) for letter in TEXT[:200]) + compress(b""))
    assert read(file) == TEXT[:200].encode()
    file.write_bytes(b"")
    assert read(file) == b""


def test_zeros_after_gzip_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "text.gz"
    file.write_bytes(gzip.compress(b"one") + bytes(5) + gzip.compress(b" two") + bytes(100_000))
    assert read(file) == b"one two"


@compressed_kinds
@pytest.mark.parametrize("repeats", [1, 20_000])
def test_damaged_files_are_refused_by_name(kind: str, repeats: int, tmp_path: Path) -> None:
    whole = COMPRESS[kind](os.urandom(10) * repeats)
    file = tmp_path / f"text.txt.{kind}"
    for damaged in (
        whole[:-1],
        whole[:-9],
        whole[:6],
        whole + b"more",
        whole + whole[:12],
        b"no such format",
    ):
        file.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=rf"text\.txt\.{kind} is not whole: .*; fetch or compress it again"
        ):
            for _ in open_source(file).blocks(CUTS):
                pass


def test_a_flipped_bit_in_gzip_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "text.gz"
    data = bytearray(gzip.compress(TEXT.encode()))
    data[-7] ^= 1  # in its checksum
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"is not whole: .*incorrect data check"):
        read(file)


@compressed_kinds
def test_what_compresses_best_is_still_read_a_little_at_a_time(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"zeros.{kind}"
    file.write_bytes(COMPRESS[kind](bytes(100_000_000)))
    text = sources._File(file)
    assert max(map(len, text.chunks())) < 40_000_000


def test_zst_without_its_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("the standard library has it")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    file = tmp_path / "text.zst"
    file.write_bytes(b"anything")
    with pytest.raises(
        ModuleNotFoundError, match=r"Python 3.14 or the package zstandard: pip install 'hornbook"
    ):
        read(file)


def test_progress_counts_the_bytes_of_the_files_up_to_their_sum(path: Path) -> None:
    compressed = path.with_suffix(".gz")
    compressed.write_bytes(gzip.compress(TEXT.encode()))
    source = open_source([path, compressed, path])
    assert source.total == 2 * path.stat().st_size + compressed.stat().st_size
    done = [block.done for block in blocks(source)]
    assert done == sorted(done)
    assert done[-1] == source.total


def test_progress_of_a_stream_counts_its_bytes_and_knows_no_total() -> None:
    source = open_source(iter(TEXT))
    assert source.total is None
    assert blocks(source)[-1].done == len(TEXT.encode())


def test_a_file_that_shrinks_while_it_is_read_is_noticed(path: Path) -> None:
    path.write_bytes(b"word " * 100_000)
    found = open_source(path).blocks(CUTS, 1 << 10)
    message = r"text\.txt was cut short while it was being read: it had 500000 bytes, now 300000"
    next(found)
    late = next(block for block in found if block.offset > 300_000)
    os.truncate(path, 300_000)
    with pytest.raises(ValueError, match=message):
        list(found)
    with pytest.raises(ValueError, match="it had 500000 bytes"):
        late.view  # noqa: B018 - it is read here


def test_a_file_that_grows_is_read_to_its_end_and_progress_stops_at_the_total(path: Path) -> None:
    source = open_source(path)
    with path.open("ab") as file:
        file.write(b" more" * 100)
    found = blocks(source)
    assert b"".join(block.view for block in found) == TEXT.encode() + b" more" * 100
    assert found[-1].done == source.total


@pytest.mark.parametrize("size", [1, 10, 1 << 20])
def test_bytes_that_are_no_utf8_are_named_by_their_offset_in_their_file(size: int, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes(b"good text " * 100)
    for bytes_there, value in (
        (b"\xff", "ff"),
        (b"\xe6\x97 x", "e6"),
        (b"\xed\xa0\x80", "ed"),
        (b"\xc0\xaf", "c0"),
    ):
        bad.write_bytes(b"good text " * 100 + bytes_there + b" and more" * 100)
        with pytest.raises(ValueError, match=rf"bad\.txt is not valid UTF-8: byte 0x{value} at offset 1000;"):
            read([good, bad], size)
    bad.write_bytes(b"good text " * 100 + "日".encode()[:2])
    with pytest.raises(ValueError, match=r"bad\.txt is not valid UTF-8: byte 0xe6 at offset 1000;"):
        read(bad, size)
    with pytest.raises(ValueError, match=r"the file object is not valid UTF-8: byte 0xff at offset 3;"):
        read(io.BytesIO(b"abc\xff"), size)


def test_a_lone_surrogate_is_named_by_its_position_in_the_whole_text() -> None:
    message = "has half a surrogate pair at position 7, which UTF-8 cannot express"
    with pytest.raises(ValueError, match=f"the text {message}"):
        read(iter(["日本語 ", "ab", "c\ud800d"]))
    with pytest.raises(ValueError, match=f"the file object {message}"):
        read(io.StringIO("日本語 abc\udfffd"))


class _Impatient(io.RawIOBase):
    def read(self, size: int = -1) -> None:
        return None


def _numbers() -> Iterator[Any]:
    yield "text"
    yield b"bytes"


@pytest.mark.parametrize(
    ("input_path", "error", "message"),
    [
        (3, TypeError, "input_path must be a path, a list of paths, '-', a file object or an .* got int"),
        (None, TypeError, "got NoneType"),
        (b"text.txt", TypeError, "got bytes"),
        ([], ValueError, "input_path is an empty list; name at least one file"),
        ([3], TypeError, "a path must be a str or an os.PathLike of one, got 3"),
        (
            "nowhere.txt",
            FileNotFoundError,
            "there is no file nowhere.txt .looked from .*; text itself is given as",
        ),
        ("no\0where", FileNotFoundError, "there is no file no"),
        (["Once upon a time " * 1_000], FileNotFoundError, "there is no file Once upon a time"),
        ("nowhere/*.txt", FileNotFoundError, r"there is no file nowhere/\*\.txt"),
        (".", ValueError, r"\. is a folder; name the files in it, for instance as '\*\.txt'"),
        (_numbers(), TypeError, "an iterable must hold the strings of a text; item 1 is bytes"),
        (_Impatient(), ValueError, "the file object does not wait for its data; open it in blocking mode"),
    ],
)
def test_what_is_no_source_is_refused(input_path: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(input_path)


def test_files_are_closed_when_reading_stops_early(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    plain_open = Path.open

    def remember(self: Path, *arguments: Any, **keywords: Any) -> Any:
        opened.append(plain_open(self, *arguments, **keywords))
        return opened[-1]

    monkeypatch.setattr(Path, "open", remember)
    found: Iterable[Block] = open_source(path).blocks(CUTS, 10)
    next(iter(found))
    del found
    assert [file.closed for file in opened] == [True]
