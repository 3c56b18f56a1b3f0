"""Encoding a corpus into a token file."""

import errno
import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import textwrap
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer, aside, corpus, engine
from hornbook.bpe.library import load

END = "<e>"
BYTES = {value: bytes([value]) for value in range(256)}
MERGES = [(b"t", b"h"), (b" ", b"c"), (b"th", b"e"), (b"a", b"a"), (b"aa", b"a"), (b"\r", b"\n")]
SPECIALS = [END, "<e><e>", "b c"]
FRAGMENTS = [*SPECIALS, "the ", "cat", "aaa", "é", "🙂", "\0", "\ufeff", "\r\n", "  ", "<e", " b"]
texts = st.lists(st.sampled_from(FRAGMENTS)).map("".join) | st.text()
only_posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


@cache
def trained(which: str = "pure") -> Tokenizer:
    """A tokenizer that works with one of the engines."""
    vocab = BYTES | {256 + rank: left + right for rank, (left, right) in enumerate(MERGES)}
    with pytest.MonkeyPatch.context() as patch:
        if which == "pure":
            patch.setattr(engine, "load", lambda: None)
        return Tokenizer(vocab, MERGES, SPECIALS)


def read(path: Path) -> tuple[list[int], list[int] | None]:
    """Ids and where documents begin, after everything that the manifest says was checked."""
    manifest = json.loads(path.with_name(f"{path.name}.json").read_bytes())
    raw = path.read_bytes()
    assert hashlib.sha256(raw).hexdigest() == manifest["sha256"]
    ids = np.frombuffer(raw, manifest["dtype"])
    assert len(ids) == manifest["num_tokens"]
    assert manifest["version"] == 1
    documents = path.with_name(f"{path.name}.documents")
    if manifest["documents"] is None:
        assert not documents.exists()
        return ids.tolist(), None
    raw = documents.read_bytes()
    assert hashlib.sha256(raw).hexdigest() == manifest["documents"]["sha256"]
    offsets = np.frombuffer(raw, "<u8")
    assert len(offsets) == manifest["documents"]["count"]
    return ids.tolist(), offsets.tolist()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def expected_offsets(ids: list[int], end_id: int) -> list[int]:
    return [place for place in range(len(ids)) if place == 0 or ids[place - 1] == end_id]


@pytest.mark.parametrize("which", ["pure", "core"] if load() is not None else ["pure"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_token_file_holds_the_ids_of_the_text_and_where_its_documents_begin(
    which: str, num_threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(0)
    text = "".join(draw.choices(FRAGMENTS, k=2_000))
    (tmp_path / "text.txt").write_bytes(text.encode())
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 100)
    tokenizer = trained(which=which)
    calls: list[Any] = []
    manifest = tokenizer.encode_file(
        tmp_path / "text.txt",
        tmp_path / "t.bin",
        num_threads=num_threads,
        document_end=END,
        progress=lambda *call: calls.append(call),
    )
    ids, offsets = read(tmp_path / "t.bin")
    assert ids == tokenizer.encode(text)
    assert offsets == expected_offsets(ids, tokenizer.encode(END)[0])
    assert len(calls) > 20
    size = len(text.encode())
    assert calls[-1] == ("encode", size, size)
    assert manifest.text == hashlib.sha256(text.encode()).hexdigest()
    assert manifest.tokenizer == tokenizer.fingerprint
    assert (manifest.dtype, manifest.vocab_size) == ("<u2", tokenizer.vocab_size)
    assert manifest.documents is not None
    assert manifest.documents["end"] == END
    assert sorted(names(tmp_path)) == [
        "t.bin",
        "t.bin.documents",
        "t.bin.json",
        "text.txt",
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(texts, max_size=3), st.integers(1, 3))
def test_each_of_several_files_is_a_text_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str], num_threads: int
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    joined = contents or [""]
    paths = [folder / f"{index}.txt.gz" for index in range(len(joined))]
    for path, text in zip(paths, joined, strict=True):
        path.write_bytes(gzip.compress(text.encode()))
    manifest = trained().encode_file(paths, folder / "t", num_threads=num_threads, document_end=END)
    ids, offsets = read(folder / "t")
    expected = [trained().encode(text) for text in joined]
    assert ids == list(chain(*expected))
    starts, place = set(), 0
    for part in expected:
        starts |= {place + offset for offset in expected_offsets(part, trained().encode(END)[0])}
        place += len(part)
    assert offsets == sorted(starts)
    assert manifest.text == hashlib.sha256("".join(joined).encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "offsets"),
    [("", []), ("<e>", [0]), ("a<e>", [0]), ("a<e>b", [0, 2]), ("<e><e><e>x", [0, 1, 2, 3]), ("a", [0])],
)
def test_a_document_ends_with_its_special_token(text: str, offsets: list[int], tmp_path: Path) -> None:
    tokenizer = Tokenizer(BYTES, [], [END])
    manifest = tokenizer.encode_file(iter([text]), tmp_path / "t", document_end=END)
    assert read(tmp_path / "t") == (tokenizer.encode(text), offsets)
    assert manifest.num_tokens == len(tokenizer.encode(text))


def test_without_a_special_token_that_ends_documents_they_are_unknown(tmp_path: Path) -> None:
    with_end = Tokenizer(BYTES, [], ["<|endoftext|>"])
    assert with_end.encode_file(iter(["a<|endoftext|>b"]), tmp_path / "t").documents is not None
    assert read(tmp_path / "t") == ([97, 256, 98], [0, 2])
    without = Tokenizer(BYTES, [], [END])
    assert without.encode_file(iter(["ab"]), tmp_path / "t").documents is None
    assert read(tmp_path / "t") == ([97, 98], None)  # and the old file of documents is gone
    with pytest.raises(ValueError, match=r"document_end '<x>' is not among .* special tokens, \['<e>'\]"):
        without.encode_file(iter(["ab"]), tmp_path / "t", document_end="<x>")


def test_a_large_vocabulary_takes_four_bytes_an_id(tmp_path: Path) -> None:
    vocab = {i: bytes([i]) if i < 256 else b"%08d" % i for i in range(65_537)}
    manifest = Tokenizer(vocab, [], ["00065536"]).encode_file(iter(["a00065536"]), tmp_path / "t")
    assert manifest.dtype == "<u4"
    assert (tmp_path / "t").read_bytes() == b"\x61\0\0\0\0\0\1\0"
    assert read(tmp_path / "t")[0] == [97, 65_536]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"the cat \xff", ValueError, r"text\.txt is not valid UTF-8: byte 0xff at offset 8"),
        (b"the \xe6\x97", ValueError, r"text\.txt is not valid UTF-8: byte 0xe6 at offset 4"),
        (None, FileNotFoundError, r"there is no file .*text\.txt"),
    ],
)
def test_a_text_that_cannot_be_read_leaves_everything_as_it_was(
    content: bytes | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    trained().encode_file(iter(["the cat"]), tmp_path / "t", document_end=END)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if content is not None:
        (tmp_path / "text.txt").write_bytes(content)
        before["text.txt"] = content
    with pytest.raises(error, match=message):
        trained().encode_file(tmp_path / "text.txt", tmp_path / "t")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_text_itself_and_folders_are_not_replaced(tmp_path: Path) -> None:
    text = tmp_path / "text.json"
    text.write_text("the cat", encoding="utf-8")
    (tmp_path / "link").symlink_to(text)
    for src, dst in ((text, text), (str(text), tmp_path / "text"), ([tmp_path / "link"], text)):
        with pytest.raises(ValueError, match=r"text\.json is the text, or part of it, and would be replaced"):
            trained().encode_file(src, dst)
    (tmp_path / "t.documents").mkdir()
    with pytest.raises(
        IsADirectoryError, match=r"t\.documents is a folder; give the token file another name"
    ):
        trained().encode_file(text, tmp_path / "t")
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder .*nowhere to write t into; make it first"
    ):
        trained().encode_file(text, tmp_path / "nowhere" / "t")
    assert text.read_text(encoding="utf-8") == "the cat"


def test_an_error_of_the_caller_ends_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained().encode_file(iter(["the cat"]), tmp_path / "t", num_threads=2, progress=stop)
    assert list(tmp_path.iterdir()) == []


# Tells its parent about every block, and goes on when it is told to.
SLOW = """
    import sys
    from hornbook.bpe import Tokenizer

    def texts():
        for number in range(int(sys.argv[2])):
            yield "the cat " * 200_000

    def progress(*call):
        print(*call, flush=True)
        sys.stdin.read(1)

    vocab = {value: bytes([value]) for value in range(256)}
    Tokenizer(vocab, [], ["<|endoftext|>"]).encode_file(texts(), sys.argv[1], progress=progress)
"""


@only_posix
@pytest.mark.parametrize("old", [False, True])
def test_a_kill_leaves_nothing_that_looks_whole_and_the_next_try_removes_the_rest(
    old: bool, tmp_path: Path
) -> None:
    path = tmp_path / "t*[a].bin"  # a name that a pattern of files would misunderstand
    tokenizer = Tokenizer(BYTES, [], ["<|endoftext|>"])
    other = tmp_path / ".t*[a].bin.json.0123abcd.1.part"  # of a process that runs
    other.write_text("not ours", encoding="utf-8")
    if old:
        tokenizer.encode_file(iter(["old"]), path)
    (tmp_path / "script.py").write_text(textwrap.dedent(SLOW), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "script.py", str(path), "9"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"encode ")
        hidden = [name for name in names(tmp_path) if name.endswith(f".{process.pid}.part")]
        assert len(hidden) == 3
        process.kill()
    assert path.exists() == path.with_name(f"{path.name}.json").exists() == old
    if old:
        assert read(path) == (list(b"old"), [0])
    tokenizer.encode_file(iter(["new"]), path)
    assert read(path) == (list(b"new"), [0])
    assert [name for name in names(tmp_path) if name.endswith(".part")] == [other.name]


@only_posix
def test_a_full_disk_is_named_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    # A limit on the size of files is the nearest to a full disk that needs no rights.
    path = tmp_path / "t"
    Tokenizer(BYTES, [], ["<|endoftext|>"]).encode_file(iter(["old"]), path)
    limit = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))\n"
    (tmp_path / "script.py").write_text(limit + textwrap.dedent(SLOW), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-B", "script.py", str(path), "9"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.search(
        r"no room to write (\S+) \(more than ([\d,]+) bytes needed\): free some space", done.stderr
    )
    assert said and said[1] == str(path), done.stderr
    assert 2_000_000 < int(said[2].replace(",", "")) <= 8_000_000
    assert read(path) == (list(b"old"), [0])
    assert sorted(names(tmp_path)) == ["script.py", "t", "t.documents", "t.json"]


@pytest.mark.parametrize("fails", ["t", "t.documents", "t.json"])
def test_between_the_renames_there_is_no_manifest_rather_than_a_wrong_one(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Tokenizer(BYTES, [], ["<|endoftext|>"])
    tokenizer.encode_file(iter(["old"]), tmp_path / "t")
    publish = aside.AsideFile.publish

    def fail(self: Any) -> None:
        if self.path.name == fails:
            raise OSError(errno.EIO, "the disk broke")
        publish(self)

    monkeypatch.setattr(aside.AsideFile, "publish", fail)
    with pytest.raises(OSError, match="the disk broke"):
        tokenizer.encode_file(iter(["new"]), tmp_path / "t")
    assert not (tmp_path / "t.json").exists()
    assert not [name for name in names(tmp_path) if name.endswith("part")]


def test_a_text_found_by_a_pattern_or_opened_before_is_not_replaced(tmp_path: Path) -> None:
    tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [])
    text = tmp_path / "b.txt"
    text.write_text("text", encoding="utf-8")
    (tmp_path / "a.txt").write_text("more", encoding="utf-8")
    pattern = str(tmp_path / "*.txt")
    with text.open("rb") as file:
        for source in (pattern, [pattern], [tmp_path / "a.txt", text], file):
            with pytest.raises(ValueError, match=r"b\.txt is the text, or part of it, and would be replaced"):
                tokenizer.encode_file(source, text)
    assert text.read_text(encoding="utf-8") == "text"


@pytest.mark.skipif(os.name != "posix", reason="a pipe with a name")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is no regular file and would be replaced"):
        tokenizer.encode_file(iter(["text"]), tmp_path / "pipe")
