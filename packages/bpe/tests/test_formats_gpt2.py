"""vocab.json and merges.txt, alone and in this package's own directory."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.bpe import Tokenizer
from hornbook.bpe.formats import Parts, directory, gpt2
from hornbook.bpe.formats.gpt2 import from_printable, printable

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"\xc3", b"\xa9")]


def small(specials: tuple[str, ...] = ("<|endoftext|>", "a b", "é!")) -> Tokenizer:
    tokens = [*(bytes([value]) for value in range(256)), *(left + right for left, right in MERGES)]
    return Tokenizer(dict(enumerate(tokens)), MERGES, specials)


def read(folder: Path, vocab: bytes, merges: bytes, specials: tuple[str, ...] = ()) -> Parts:
    (folder / "vocab.json").write_bytes(vocab)
    (folder / "merges.txt").write_bytes(merges)
    return gpt2.read(folder / "vocab.json", folder / "merges.txt", specials)


@given(st.binary())
def test_gpt2s_alphabet_spells_every_token_without_white_space(token: bytes) -> None:
    assert from_printable(printable(token)) == token
    assert printable(token).split() == ([printable(token)] if token else [])


def test_a_saved_tokenizer_loads_the_same(tmp_path: Path) -> None:
    tokenizer = small()
    tokenizer.save(tmp_path / "new" / "tokenizer")
    loaded = Tokenizer.load(tmp_path / "new" / "tokenizer")
    text = "the a b<|endoftext|>é!é"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.vocab == tokenizer.vocab
    assert loaded.merges == tokenizer.merges
    assert loaded.special_tokens == tokenizer.special_tokens
    assert loaded.fingerprint == tokenizer.fingerprint


def test_a_special_token_spelled_like_a_byte_survives_saving(tmp_path: Path) -> None:
    vocab = {0: b"a", **{value + 1: bytes([value]) for value in range(256)}}
    tokenizer = Tokenizer(vocab, [], ["a"])
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").vocab == vocab
    with pytest.raises(ValueError, match=r"cannot hold both the special token 'a', id 0, and .*id 98"):
        tokenizer.save_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_vocab_json_and_merges_txt_are_gpt2s(tmp_path: Path) -> None:
    tokenizer = small(("<|endoftext|>", "a b"))
    tokenizer.save(tmp_path / "tokenizer")
    vocab = json.loads((tmp_path / "tokenizer/vocab.json").read_text(encoding="utf-8"))
    merges = (tmp_path / "tokenizer/merges.txt").read_text(encoding="utf-8")
    assert merges == "#version: 0.2\nt h\nth e\nĠ the\nÃ ©\n"
    assert (vocab["Ġthe"], vocab["Ã©"], vocab["<|endoftext|>"], vocab["aĠb"]) == (258, 259, 260, 261)
    files = (tmp_path / "tokenizer/vocab.json", tmp_path / "tokenizer/merges.txt")
    assert Tokenizer.from_files(*files, ["a b", "<|endoftext|>"]).fingerprint == tokenizer.fingerprint
    assert Tokenizer.from_files(*files).special_tokens == []
    tokenizer.save_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "tokenizer" / name).read_bytes()


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        (b"", "is not sound JSON"),
        (b'{"a": 0', "is not sound JSON"),
        (pickle.dumps({"a": 0}), "is not UTF-8: invalid start byte at byte 0"),
        (b"[" * 100_000, "is not sound JSON: it is nested too deeply"),
        (b'["a"]', "must hold a JSON object, got list"),
        (b'{"a": 0, "a": 1}', "'a' is given twice"),
        (b'{"a": "0"}', "the id of 'a' must be an integer from 0 to 4294967295, got '0'"),
        (b'{"a": true}', "the id of 'a' must be an integer from 0 to 4294967295, got True"),
        (b'{"a": 4294967296}', "the id of 'a' must be an integer from 0 to 4294967295, got 4294967296"),
        (b'{"a": -1}', "the id of 'a' must be an integer from 0 to 4294967295, got -1"),
        (b'{"a": 1e3}', "the id of 'a' must be an integer from 0 to 4294967295, got 1000.0"),
        (b'{"a": 0, "b": 0}', "id 0 is given to two tokens, 'a' and 'b'"),
        (b'{"a": 0, "b": 1, "ab": 3}', "the ids of 3 tokens must be 0 to 2; missing: 2"),
        (b'{"a b": 0}', "'a b' is not in GPT-2's alphabet of bytes: ' '; if it is a special token, name it"),
        (b'{"\\ud800": 0}', "token 0 holds half a surrogate pair"),
        (b'{"": 0}', "token 0 must be a string that isn't empty, got ''"),
        (b'{"a": 0, "b": 1, "ab": 2, "abb": 3}', "no merge makes token 3, b'abb': the merges may be cut off"),
        (b'{"a": 0, "ab": 1}', r"line 1: merge 'a b' needs 'b', which is not in the vocabulary"),
        (b'{"a": 0, "b": 1}', r"line 1: merge 'a b' needs 'ab', which is not in the vocabulary"),
    ],
)
def test_an_unsound_vocab_json_is_refused(vocab: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(vocab\.json|merges\.txt): .*" + message):
        read(tmp_path, vocab, b"a b\n")


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (b"a b\na b\n", "line 2: merge 'a b' was given before, on line 1"),
        (b"a b\na", "line 2: a merge is two tokens with a space between, got 'a'"),
        (b"a b c\n", "line 1: a merge is two tokens"),
        (b"a b \n", "line 1: a merge is two tokens"),
        (b" a b\n", "line 1: a merge is two tokens"),
        (b"a  b\n", "line 1: a merge is two tokens"),
        (b"a\tb\n", "line 1: a merge is two tokens"),
        (b"a b\n\n", "line 2: a merge is two tokens"),
        (b"\na b\n", "line 1: a merge is two tokens"),
        (b"a b\r\r\n", r"line 1: merge 'a b\\r' needs 'b\\r'"),
        (b"a b\rb a\n", "line 1: a merge is two tokens"),
        ("a b\u2028".encode(), r"line 1: merge 'a b\\u2028' needs 'b\\u2028'"),
        (b"#version: 0.2\n#version: 0.2\na b\n", "line 2: merge '#version: 0.2' needs '#version:'"),
        ("a \u4e00\n".encode(), "line 1: merge 'a \u4e00' needs '\u4e00', which is not in the vocabulary"),
        (pickle.dumps([("a", "b")]), "merges.txt: is not UTF-8"),
        (b"#version: 0.2\n", "no merge makes token 2, b'ab'"),
        (b"", "no merge makes token 2, b'ab'"),
    ],
)
def test_an_unsound_merges_txt_is_refused(merges: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"merges\.txt.*: .*{message}|{message}"):
        read(tmp_path, b'{"a": 0, "b": 1, "ab": 2}', merges)


@pytest.mark.parametrize(
    "merges", [b"a b", b"a b\n", b"a b\r\n", b"#version: 0.2\r\na b\r\n", b"\xef\xbb\xbf#version: 0.2\na b"]
)
def test_the_head_of_merges_txt_and_its_line_ends_are_free(merges: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, b'{"a": 0, "b": 1, "ab": 2}', merges).merges == [(b"a", b"b")]


def test_a_merge_that_looks_like_the_head_is_read_where_the_head_is_not(tmp_path: Path) -> None:
    pieces = ["#", "v", "e", "r", "s", "i", "o", "n", ":", "0", ".", "2"]
    merges, left = [], "#"
    for right in pieces[1:9]:
        merges.append((left, right))
        left += right
    merges += [("0", "."), ("0.", "2"), ("#version:", "0.2")]
    vocab = {token: index for index, token in enumerate([*pieces, *(one + other for one, other in merges)])}
    content = "".join(f"{one} {other}\n" for one, other in merges).encode()
    parts = read(tmp_path, json.dumps(vocab).encode(), b"#version: 0.2\n" + content)
    assert parts.merges[-1] == (b"#version:", b"0.2")
    gpt2.write(tmp_path / "v.json", tmp_path / "m.txt", parts)
    assert gpt2.read(tmp_path / "v.json", tmp_path / "m.txt") == parts


def test_ten_million_lines_are_refused_at_the_first_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 2: merge 'a b' was given before, on line 1"):
        read(tmp_path, b'{"a": 0, "b": 1, "ab": 2}', b"a b\n" * 10_000_000)


def test_a_token_of_a_megabyte_that_no_merge_makes_is_refused(tmp_path: Path) -> None:
    vocab = {"a": 0, "aa": 1, "a" * 1_000_000: 2, "a" * 999_999: 3}
    with pytest.raises(ValueError, match="no merge makes token 2"):
        read(tmp_path, json.dumps(vocab).encode(), b"a a\n")


def test_a_declared_special_token_may_be_spelled_plainly(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0, "<|my token|>": 1}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<|my token|>"])
    assert tokenizer.encode("a<|my token|>") == [0, 1]


def test_one_token_spelled_in_two_ways_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'<my token>' and '<myĠtoken>' are the same token"):
        read(tmp_path, '{"<my token>": 0, "<myĠtoken>": 1}'.encode(), b"", ("<my token>",))


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    small().save(tmp_path / "tokenizer")
    assert Tokenizer.load(tmp_path / "tokenizer").vocab == small().vocab


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "hornbook_bpe.json"])
def test_loading_notices_every_change(name: str, tmp_path: Path) -> None:
    small().save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    changes = [content[:-20], b"", pickle.dumps({"a": 0}), content.replace(b"t", b"s", 1), b"[1]", b"{}"]
    if name == "hornbook_bpe.json":
        changes += [content.replace(b"260", b"261"), content.replace(b'"a b"', b'"ab"')]
        changes += [content.replace(b"261", b'"x"'), content.replace(b'_version": 1', b'_version": 3')]
    for changed in changes:
        assert changed != content
        path.write_bytes(changed)
        with pytest.raises(
            ValueError,
            match=r"hornbook_bpe|is not the file that was saved|damaged|missing|another token|format_version",
        ):
            Tokenizer.load(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}"):
        Tokenizer.load(tmp_path)


def test_a_directory_of_version_1_loads(tmp_path: Path) -> None:
    """Written by hornbook-bpe 0.1.0, byte for byte."""
    contents = {
        "vocab.json": '{"a": 0, "b": 1, "Ġ": 2, "ab": 3, "<|endĠ|>": 4}\n',
        "merges.txt": "#version: 0.2\na b\n",
    }
    metadata = {
        "format": "hornbook.bpe",
        "format_version": 1,
        "pretokens": "gpt2",
        "special_tokens": {"<|end |>": 4},
        "fingerprint": "9c8230d04b7c9774fcf4a9300fd77ec155e6e21300d7ac1b2385dbd7247f2382",
        **{f"{name}_sha256": hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()},
    }
    contents["hornbook_bpe.json"] = json.dumps(metadata, ensure_ascii=False, indent=2) + "\n"
    for name, text in contents.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    parts = directory.read(tmp_path)
    assert parts == Parts(
        {0: b"a", 1: b"b", 2: b" ", 3: b"ab", 4: b"<|end |>"}, [(b"a", b"b")], {"<|end |>": 4}, "gpt2"
    )
    directory.write(tmp_path / "again", parts)  # the same tokenizer is the same files in every version
    for name, text in contents.items():
        assert (tmp_path / "again" / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"hornbook.bpe"', '"tokenizers"', "format must be 'hornbook.bpe', got 'tokenizers'"),
        (
            '"format_version": 2',
            '"format_version": 3',
            "format_version must be 1 or 2, got 3; a later version",
        ),
        ('"format_version": 2', '"format_version": true', "format_version must be 1 or 2, got True"),
        ('"format_version": 2', '"format_version": 1', "pretokens must be 'gpt2', got None"),
        ('"o200k"', '"o300k"', "pattern must be one of .* got 'o300k'"),
        ('"o200k"', '"("', "or a regex"),
        ('"o200k"', '"cl100k"', "is damaged: its tokenizer is not the one that was saved"),
        ('"o200k"', "7", "pattern must be a string that isn't empty, got 7"),
        ('"<e>": 2', '"<e>": "2"', "the id of '<e>' must be an integer"),
        ('"<e>": 2', '"<e>": 1', "is damaged"),
        ('"<e>": 2', '"": 2', "a special token must be a string that isn't empty"),
        ('"<e>": 2', '"<x>": 2, "<e>": 2', "'<x>' has id 2, which is that of another token"),
    ],
)
def test_metadata_that_was_changed_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    directory.write(tmp_path / "d", Parts({0: b"a", 1: b"b", 2: b"<e>"}, [], {"<e>": 2}, "o200k"))
    file = tmp_path / "d/hornbook_bpe.json"
    content = file.read_text(encoding="utf-8")
    assert old in content
    file.write_text(content.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        directory.read(tmp_path / "d")
