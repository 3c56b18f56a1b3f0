"""What holds for every file format: exact there and back, whole or not at all, no error but a clear one."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer
from hornbook.bpe.formats import Parts, directory, gpt2, huggingface, tiktoken
from hornbook.bpe.formats.files import parse_json, write_files
from json_nodes import places, replaced

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"\xc3", b"\xa9"), (b"a", b"a"), (b"aa", b"a")]
SPECIALS = ("<|endoftext|>", "a b", "é!é")


def small(specials: tuple[str, ...] = SPECIALS, pattern: str = "gpt2", *, first: bool = False) -> Parts:
    """All bytes, the merges and the special tokens, which come first or last."""
    ordinary = [*(bytes([value]) for value in range(256)), *(left + right for left, right in MERGES)]
    names = [special.encode() for special in specials]
    vocab = dict(enumerate([*names, *ordinary] if first else [*ordinary, *names]))
    start = 0 if first else len(ordinary)
    return Parts(vocab, MERGES, {special: start + index for index, special in enumerate(specials)}, pattern)


def make(parts: Parts) -> Tokenizer:
    return Tokenizer(parts.vocab, parts.merges, list(parts.special_tokens), pattern=parts.pattern)


Format = tuple[Callable[[Path, Parts], None], Callable[[Path, Parts], Parts]]
FORMATS: dict[str, Format] = {
    "gpt2": (
        lambda path, parts: gpt2.write(path / "vocab.json", path / "merges.txt", parts),
        lambda path, parts: gpt2.read(
            path / "vocab.json", path / "merges.txt", list(parts.special_tokens), pattern=parts.pattern
        ),
    ),
    "huggingface": (
        lambda path, parts: huggingface.write(path / "tokenizer.json", parts),
        lambda path, parts: huggingface.read(path / "tokenizer.json"),
    ),
    "tiktoken": (
        lambda path, parts: tiktoken.write(path / "a.tiktoken", parts),
        lambda path, parts: tiktoken.read(path / "a.tiktoken", parts.special_tokens, pattern=parts.pattern),
    ),
    "directory": (
        lambda path, parts: directory.write(path / "saved", parts),
        lambda path, parts: directory.read(path / "saved"),
    ),
}
every_format = pytest.mark.parametrize("name", FORMATS)


def written(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


@every_format
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", r"\p{L}+|[^\p{L}]"])
def test_what_is_written_reads_the_same(name: str, first: bool, pattern: str, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    parts = small(pattern=pattern, first=first)
    write(tmp_path, parts)
    again = read(tmp_path, parts)
    assert again == parts
    assert again.fingerprint == parts.fingerprint == make(parts).fingerprint
    assert list(again.vocab) == list(range(len(parts.vocab)))


@every_format
def test_writing_again_changes_nothing_and_replaces_nothing(name: str, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    write(tmp_path, small())
    files = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in written(tmp_path)}
    write(tmp_path, small())
    with pytest.raises(FileExistsError, match="exists and holds something else; save into a new"):
        write(tmp_path, small(first=True))
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in written(tmp_path)} == files
    assert read(tmp_path, small()) == small()


@every_format
def test_a_write_that_fails_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"no room to write .* free some space"):
        FORMATS[name][0](tmp_path, small())
    assert list(tmp_path.iterdir()) == []


def test_of_two_files_none_is_written_if_one_may_not_be(tmp_path: Path) -> None:
    (tmp_path / "two").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="two exists"):
        write_files({tmp_path / "one": b"1", tmp_path / "two": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


@every_format
def test_a_missing_file_and_a_directory_in_its_place_are_named(name: str, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    write(tmp_path, small())
    for file in written(tmp_path):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(FileNotFoundError, match=f"there is no file .*{file.name}"):
            read(tmp_path, small())
        file.mkdir()
        with pytest.raises(ValueError, match=f"{file.name} is not a regular file"):
            read(tmp_path, small())
        file.rmdir()
        file.write_bytes(content)


@every_format
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(name: str, tmp_path: Path) -> None:
    if name == "directory":
        return  # what was changed since is refused there
    write, read = FORMATS[name]
    write(tmp_path, small())
    for file in written(tmp_path):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read(tmp_path, small()) == small()


def refused_or_sound(read: Callable[[], Parts], path: Path) -> None:
    """The promise about hostile files; a ValueError of UTF-8 or JSON below would lack the path."""
    try:
        parts = read()
    except ValueError as error:
        message = str(error)
    else:
        assert list(parts.vocab) == list(range(len(parts.vocab)))
        assert make(parts).special_tokens == list(parts.special_tokens)
        return
    assert str(path) in message
    assert len(message) < 2_000


@every_format
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damaged_bytes_raise_nothing_but_value_errors(name: str, data: st.DataObject, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    if not written(tmp_path):
        write(tmp_path, small())
    file = data.draw(st.sampled_from(written(tmp_path)))
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 40, len(content))) | st.just(len(content)))
    bits = st.binary(max_size=4) | st.sampled_from(
        [b"\n", b'"', b"[", b"}", b" ", b"1e999", b"\\ud800", b"-"]
    )
    file.write_bytes(content[:start] + data.draw(bits) + content[end:])
    try:
        refused_or_sound(lambda: read(tmp_path, small()), tmp_path)
    finally:
        file.write_bytes(content)


WRONG: list[Any] = [None, True, -1, 0, 1.5, 1 << 40, 10**4000, "", "x", "\ud800", [], [[]], {}, {"type": "x"}]


@every_format
def test_a_wrong_value_at_any_place_raises_nothing_but_value_errors(name: str, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    write(tmp_path, small(pattern="gpt2" if name == "gpt2" else "o200k"))
    for file in written(tmp_path):
        if file.suffix != ".json":
            continue
        content = json.loads(file.read_bytes())
        for place in places(content):
            for value in WRONG:
                file.write_text(json.dumps(replaced(content, place, value)), encoding="utf-8")
                refused_or_sound(lambda: read(tmp_path, small()), tmp_path)
        file.write_text(json.dumps(content), encoding="utf-8")


@every_format
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe[",
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        pickle.dumps({"a": 0}),
        b"9" * 10_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'"' + b"a" * 1_000_000,
        b"a b\n" * 1_000_000,
        b"IQ== 0\n" * 1_000_000,
        b"\n" * 1_000_000,
    ],
    ids=range(12),
)
def test_hostile_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    write, read = FORMATS[name]
    write(tmp_path, small())
    for file in written(tmp_path):
        sound = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file.name}.*: |is not the file that was saved") as error:
            read(tmp_path, small())
        assert len(str(error.value)) < 2_000
        file.write_bytes(sound)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_json_is_read_as_the_standard_library_reads_it(content: dict[str, Any]) -> None:
    assert parse_json(json.dumps(content)) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not sound JSON: Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "'c' is given twice"),
        ("[1]", "must hold a JSON object, got list"),
        ('{"a": ' + "1" * 5_000 + "}", "4300 digits"),
    ],
)
def test_unsound_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_a_late_double_key_among_many_is_found_at_once() -> None:
    keys = ", ".join(f'"{key}": 0' for key in range(200_000))
    with pytest.raises(ValueError, match="'199999' is given twice"):
        parse_json("{" + keys + ', "199999": 1}')


@given(st.permutations(["<a>", "<b>", "<c>"]))
@example(["<c>", "<b>", "<a>"])
def test_the_fingerprint_knows_every_part_but_no_order_of_special_tokens(names: list[str]) -> None:
    parts = small(("<a>", "<b>", "<c>"))
    assert replace(
        parts, special_tokens={name: parts.special_tokens[name] for name in names}
    ).fingerprint == (parts.fingerprint)
    others = [
        replace(parts, vocab={**parts.vocab, 261: b"z"}),
        replace(parts, merges=MERGES[::-1]),
        replace(parts, special_tokens={"<a>": 262, "<b>": 263}),
        replace(parts, pattern="o200k"),
        replace(parts, pattern="."),
    ]
    assert len({other.fingerprint for other in [parts, *others]}) == 6


def test_parts_name_the_ids_that_are_missing() -> None:
    for ids, missing in [((1, 2), "missing: 0$"), ((0, 9, 10, 11, 12), "missing: 1, 2, 3 and more$")]:
        with pytest.raises(ValueError, match=f"the ids of {len(ids)} tokens .*{missing}"):
            Parts({token_id: bytes([token_id]) for token_id in ids}, [], {}).in_order()


def test_a_special_token_spelled_like_an_ordinary_one_must_be_the_first() -> None:
    vocab = {0: b"a", 1: b"b", 2: b"a"}
    assert Parts(vocab, [], {"a": 0}).in_order().ordinary_tokens() == {b"a": 2, b"b": 1}
    with pytest.raises(ValueError, match="'a' has id 2, but id 0 is spelled alike"):
        Parts(vocab, [], {"a": 2}).in_order()
