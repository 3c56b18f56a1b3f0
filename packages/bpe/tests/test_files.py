"""Tokenizers on disk."""

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer
from hornbook.bpe.files import from_printable, printable

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"\xc3", b"\xa9")]


def small(specials: tuple[str, ...] = ("<|endoftext|>", "a b", "é!")) -> Tokenizer:
    tokens = [*(bytes([value]) for value in range(256)), *(left + right for left, right in MERGES)]
    return Tokenizer(dict(enumerate(tokens)), MERGES, specials)


@given(st.binary())
def test_gpt2s_alphabet_spells_every_token_without_white_space(token: bytes) -> None:
    assert from_printable(printable(token)) == token
    assert printable(token).split() == ([printable(token)] if token else [])


def test_a_saved_tokenizer_loads_the_same(tmp_path: Path) -> None:
    for tokenizer in (small(), small(()), small(("a", "th"))):
        directory = tmp_path / "runs" / tokenizer.fingerprint
        tokenizer.save(directory)
        tokenizer.save(directory)  # again: nothing to do
        loaded = Tokenizer.load(directory)
        assert (loaded.vocab, loaded.merges) == (tokenizer.vocab, tokenizer.merges)
        assert loaded.special_tokens == tokenizer.special_tokens
        assert loaded.fingerprint == tokenizer.fingerprint
        assert sorted(path.name for path in directory.iterdir()) == [
            "hornbook_bpe.json",
            "merges.txt",
            "vocab.json",
        ]
    assert len(list((tmp_path / "runs").iterdir())) == 3  # and nothing beside them


def test_a_special_token_spelled_like_a_byte_survives_saving(tmp_path: Path) -> None:
    vocab = {0: b"a"} | {value + 1: bytes([value]) for value in range(256)}
    Tokenizer(vocab, [], ["a"]).save(tmp_path / "tokenizer")
    assert Tokenizer.load(tmp_path / "tokenizer").vocab == vocab


def test_saved_files_are_gpt2s(tmp_path: Path) -> None:
    tokenizer = small(("<|endoftext|>", "a b"))
    tokenizer.save(tmp_path / "tokenizer")
    assert (tmp_path / "tokenizer/merges.txt").read_text(encoding="utf-8") == (
        "#version: 0.2\nt h\nth e\nĠ the\nÃ ©\n"
    )
    vocab = json.loads((tmp_path / "tokenizer/vocab.json").read_text(encoding="utf-8"))
    assert (vocab["Ġthe"], vocab["Ã©"], vocab["<|endoftext|>"], vocab["aĠb"]) == (258, 259, 260, 261)
    files = (tmp_path / "tokenizer/vocab.json", tmp_path / "tokenizer/merges.txt")
    assert Tokenizer.from_files(*files, ["a b", "<|endoftext|>"]).fingerprint == tokenizer.fingerprint
    assert Tokenizer.from_files(*files).special_tokens == []


def test_another_tokenizer_is_never_overwritten(tmp_path: Path) -> None:
    small().save(tmp_path / "tokenizer")
    with pytest.raises(FileExistsError, match="tokenizer exists and holds something else"):
        small(()).save(tmp_path / "tokenizer")
    assert Tokenizer.load(tmp_path / "tokenizer").fingerprint == small().fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    small().save(tmp_path / "tokenizer")
    assert Tokenizer.load(tmp_path / "tokenizer").vocab == small().vocab


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        small().save(tmp_path / "tokenizer")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "hornbook_bpe.json"])
def test_loading_notices_every_change(name: str, tmp_path: Path) -> None:
    small().save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    changes = [content[:-20], b"", pickle.dumps({"a": 0}), content.replace(b"t", b"s", 1), b"[1]", b"{}"]
    if name == "hornbook_bpe.json":
        changes += [content.replace(b"260", b"261"), content.replace(b'"a b"', b'"ab"')]
        changes += [content.replace(b"261", b'"x"'), content.replace(b'_version": 1', b'_version": 2')]
    for changed in changes:
        assert changed != content
        path.write_bytes(changed)
        with pytest.raises(
            ValueError, match=r"hornbook_bpe|is not the file that was saved|damaged|format_version"
        ):
            Tokenizer.load(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        (b"", "is not sound JSON"),
        (b'{"a": 0', "is not sound JSON"),
        (pickle.dumps({"a": 0}), "is not sound JSON"),
        (b"[" * 100_000, "is not sound JSON"),
        (b'["a"]', "must hold a JSON object, got list"),
        (b'{"a": 0, "a": 1}', "'a' is given twice"),
        (b'{"a": "0"}', "the id of 'a' must be an integer, got '0'"),
        (b'{"a": true}', "the id of 'a' must be an integer, got True"),
        (b'{"a": 0, "b": 0}', "id 0 is given to two tokens, 'a' and 'b'"),
        (b'{"a": 0, "b": 2}', "must be 0 to 1, but 1 is missing"),
        (b'{"a b": 0}', "'a b' is not in GPT-2's alphabet of bytes: ' '; if it is a special token, name it"),
        (b'{"": 0}', "token 0 is empty"),
        (b'{"a": 0, "b": 1, "ab": 2, "abb": 3}', "no merge makes token 3, b'abb': the merges may be cut off"),
        (b'{"a": 0, "ab": 1}', r"merge 0, b'a' \+ b'b', needs b'b'"),
        (b'{"a": 0, "b": 1}', r"merge 0, b'a' \+ b'b', needs b'ab'"),
    ],
)
def test_an_unsound_vocab_json_is_refused(vocab: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_bytes(vocab)
    (tmp_path / "merges.txt").write_bytes(b"a b\n")
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (b"a b\na b\n", "merge 1, b'a' .* was given before as merge 0"),
        (b"a b\na", "line 2: a merge is two tokens with a space between, got 'a'"),
        (b"a b c\n", "line 1: a merge is two tokens"),
        (b"a b\n\n", "line 2: a merge is two tokens"),
        ("a \u4e00\n".encode(), "line 1: '\u4e00' is not in GPT-2's alphabet"),
        (pickle.dumps([("a", "b")]), "is not a merges.txt"),
        (b"#version: 0.2\n", "no merge makes token 2, b'ab'"),
    ],
)
def test_an_unsound_merges_txt_is_refused(merges: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_bytes(b'{"a": 0, "b": 1, "ab": 2}')
    (tmp_path / "merges.txt").write_bytes(merges)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_a_declared_special_token_may_be_spelled_plainly(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "<|my token|>": 1}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<|my token|>"])
    assert tokenizer.encode("a<|my token|>") == [0, 1]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*vocab\.json"):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
