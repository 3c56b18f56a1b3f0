"""tokenizer.json: the forms in the wild are read, what would give other ids is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hornbook.bpe import GPT2_PATTERN, Tokenizer
from hornbook.bpe.formats import Parts, huggingface
from hornbook.bpe.formats.gpt2 import printable
from hornbook.bpe.formats.oniguruma import find_shared_pattern

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
BYTES = [bytes([value]) for value in range(256)]


def gpt2_file() -> dict[str, Any]:
    """As GPT-2's: the special token is in the vocabulary, merges are strings."""
    tokens = [*map(printable, BYTES), "th", "the", "Ġthe", "<|endoftext|>"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 259, "content": "<|endoftext|>", **ADDED, "normalized": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {**BYTE_LEVEL, "trim_offsets": False},
        "decoder": {**BYTE_LEVEL, "add_prefix_space": True},
        "model": {
            "dropout": None,
            "unk_token": "<|endoftext|>",
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": {token: token_id for token_id, token in enumerate(tokens)},
            "merges": ["t h", "th e", "Ġ the"],
        },
    }


def split(regex: str, behavior: str = "Isolated", *, invert: bool = False) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}
    return {"type": "Sequence", "pretokenizers": [step, {**BYTE_LEVEL, "use_regex": False}]}


def llama3_file() -> dict[str, Any]:
    """As Llama 3's: added tokens above the vocabulary, all ways to make a token are merges, as pairs."""
    content = gpt2_file()
    content["model"] |= {"type": "BPE", "ignore_merges": True, "byte_fallback": False, "unk_token": None}
    del content["model"]["vocab"]["<|endoftext|>"]
    content["model"]["vocab"] |= {"he": 259, "Ġt": 260, "Ġth": 261}
    merges = ["t h", "th e", "Ġ the", "h e", "t he", "Ġ t", "Ġt h", "Ġ th", "Ġt he", "Ġth e"]
    content["model"]["merges"] = [merge.split() for merge in merges]
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<tool>"]
    content["added_tokens"] = [
        {"id": 262 + index, "content": name, **ADDED, "special": name != "<tool>"}
        for index, name in enumerate(names)
    ]
    content["pre_tokenizer"] = split(LLAMA3)
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {names[0]: {"id": names[0], "ids": [262], "tokens": [names[0]]}},
    }
    content["post_processor"] = {"type": "Sequence", "processors": [BYTE_LEVEL, template]}
    return content


def read(path: Path, content: Any, *, add_special_tokens: bool = True) -> Parts:
    file = path / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return huggingface.read(file, add_special_tokens=add_special_tokens)


def test_gpt2s_form_is_read(tmp_path: Path) -> None:
    vocab = dict(enumerate([*BYTES, b"th", b"the", b" the", b"<|endoftext|>"]))
    merges = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the")]
    assert read(tmp_path, gpt2_file()) == Parts(vocab, merges, {"<|endoftext|>": 259}, "gpt2")
    tokenizer = Tokenizer.from_huggingface(tmp_path / "tokenizer.json")
    assert tokenizer.encode(" the<|endoftext|>") == [258, 259]


def test_llama3s_form_is_read_if_told_to_leave_out_what_it_adds_to_each_text(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"post_processor\.processors\[1\] adds tokens .* add_special_tokens=False"
    ):
        read(tmp_path, llama3_file() | {"model": gpt2_file()["model"]})


def test_ignored_merges_are_refused_if_a_token_needs_to_be_found_whole(tmp_path: Path) -> None:
    content = llama3_file()
    content["model"]["merges"].remove(["Ġ", "t"])
    with pytest.raises(ValueError, match=r"ignore_merges must be false: merges do not make token 260, b' t'"):
        read(tmp_path, content, add_special_tokens=False)
    content["model"]["ignore_merges"] = False
    assert len(read(tmp_path, content, add_special_tokens=False).merges) == 9


def test_llama3s_form_with_every_token_reachable(tmp_path: Path) -> None:
    content = llama3_file()
    parts = read(tmp_path, content, add_special_tokens=False)
    assert parts.special_tokens == {"<|begin_of_text|>": 262, "<|end_of_text|>": 263, "<tool>": 264}
    assert parts.pattern == LLAMA3
    assert len(parts.merges) == 10
    tokenizer = Tokenizer.from_huggingface(tmp_path / "tokenizer.json", add_special_tokens=False)
    assert tokenizer.encode("<tool>12345 the") == [264, *b"12345", 258]


@pytest.mark.parametrize(
    ("pre_tokenizer", "pattern"),
    [
        (BYTE_LEVEL, "gpt2"),
        ({"type": "Sequence", "pretokenizers": [BYTE_LEVEL]}, "gpt2"),
        (split(GPT2_PATTERN), "gpt2"),
        (split(GPT2_PATTERN, "Removed", invert=True), "gpt2"),
        (split(LLAMA3), LLAMA3),
        (split(LLAMA3, invert=True), LLAMA3),
    ],
)
def test_known_regexes_get_their_names(pre_tokenizer: dict[str, Any], pattern: str, tmp_path: Path) -> None:
    assert read(tmp_path, gpt2_file() | {"pre_tokenizer": pre_tokenizer}).pattern == pattern


Change = Callable[[dict[str, Any]], object]


def field(path: str, value: Any) -> Change:
    """Set a field, named as in the error messages."""

    def change(content: dict[str, Any]) -> None:
        *parents, last = path.replace("[", ".").replace("]", "").split(".")
        node: Any = content
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node[key]
        node[int(last) if isinstance(node, list) else last] = value

    return change


REFUSED: list[tuple[Change, str]] = [
    (field("version", "2.0"), "version must be '1.0' or null, got '2.0'"),
    (field("truncation", {"max_length": 5}), "truncation must be null, got {'max_length': 5}"),
    (field("padding", {"strategy": "BatchLongest"}), "padding must be null"),
    (field("normalizer", {"type": "NFC"}), "normalizer must be null, got {'type': 'NFC'}"),
    (field("unheard", 1), "unheard is not a field that can be reproduced, got 1"),
    (field("pre_tokenizer", None), "pre_tokenizer must be a JSON object, got None"),
    (
        field("pre_tokenizer", {"type": "Whitespace"}),
        "pre_tokenizer.type must be 'ByteLevel', got 'Whitespace'",
    ),
    (field("pre_tokenizer.add_prefix_space", True), "pre_tokenizer.add_prefix_space must be False, got True"),
    (field("pre_tokenizer.add_prefix_space", 0), "pre_tokenizer.add_prefix_space must be False, got 0"),
    (field("pre_tokenizer.use_regex", False), "pre_tokenizer.use_regex must be True or null, got False"),
    (field("pre_tokenizer", split(r"\w+")), r"may differ in '\\\\w\+' of the pattern"),
    (
        field("pre_tokenizer", split(LLAMA3, "Removed", invert=True)),
        "behavior must be 'Isolated', got 'Removed'",
    ),
    (field("pre_tokenizer", split(GPT2_PATTERN, "Removed")), "behavior must be 'Isolated', got 'Removed'"),
    (
        field("pre_tokenizer", split(GPT2_PATTERN, "MergedWithNext")),
        "behavior must be 'Isolated' or 'Removed'",
    ),
    (field("post_processor", {"type": "BertProcessing"}), "post_processor.type must be 'ByteLevel'"),
    (field("decoder", None), "decoder must be a JSON object"),
    (field("decoder.type", "WordPiece"), "decoder.type must be 'ByteLevel', got 'WordPiece'"),
    (field("added_tokens[0].lstrip", True), r"added_tokens\[0\].lstrip must be False, got True"),
    (field("added_tokens[0].rstrip", True), r"added_tokens\[0\].rstrip must be False, got True"),
    (field("added_tokens[0].single_word", True), r"added_tokens\[0\].single_word must be False, got True"),
    (field("added_tokens[0].id", 7), "'<|endoftext|>' has id 7, but 259 in model.vocab".replace("|", r"\|")),
    (field("added_tokens[0].content", ""), r"added_tokens\[0\].content must be a string that isn't empty"),
    (lambda content: content["added_tokens"].append(content["added_tokens"][0]), "is added twice"),
    (
        lambda content: content["added_tokens"].append(
            {"id": 261, "content": "<x>", **ADDED, "normalized": True}
        ),
        "'<x>' must have id 260, got 261: tokenizers numbers added tokens in their order",
    ),
    (
        lambda content: content["added_tokens"].append({"id": 260, "content": "xt|>", **ADDED}),
        "can overlap, and only one is normalized",
    ),
    (
        lambda content: content["added_tokens"].append({"id": 260, "content": ">x<", **ADDED}),
        "can overlap, and only one is normalized",
    ),
    (
        lambda content: content["added_tokens"].append(
            {"id": 32, "content": "Ġ", **ADDED, "normalized": True}
        ),
        "'Ġ' also spells other bytes",
    ),
    (field("model.type", "WordPiece"), "model.type must be 'BPE', got 'WordPiece': hornbook has no other"),
    (field("model.dropout", 0.1), "model.dropout must be null or 0.0 or 0, got 0.1"),
    (field("model.byte_fallback", True), "model.byte_fallback must be False or null, got True"),
    (field("model.continuing_subword_prefix", "##"), "model.continuing_subword_prefix must be null or ''"),
    (field("model.end_of_word_suffix", "</w>"), "model.end_of_word_suffix must be null or '', got '</w>'"),
    (field("model.vocab", [["a", 0.5]]), "model.vocab must be a JSON object"),
    (field("model.vocab", {}), r"model.unk_token must be null where bytes have no token"),
    (field("model.vocab.th", 0), "id 0 is given to two tokens, 'th' is one"),
    (field("model.vocab.th", 1000), "missing: 256"),
    (field("model.vocab.t h", 260), "'t h' is not in GPT-2's alphabet"),
    (field("model.merges", {"t": "h"}), "model.merges must be a list"),
    (field("model.merges[0]", "t  h"), r"model.merges\[0\] must be two tokens, got 't  h'"),
    (field("model.merges[0]", ["t", "h", "e"]), r"model.merges\[0\] must be two tokens"),
    (field("model.merges[0]", ["t", 7]), r"model.merges\[0\] must be two tokens"),
    (field("model.merges[0]", "t x"), r"model.merges\[0\], 't x', needs 'tx', which model.vocab lacks"),
    (field("model.merges[2]", "t h"), r"model.merges\[2\], 't h', was given before as model.merges\[0\]"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_would_give_other_ids_is_refused_by_name(change: Change, message: str, tmp_path: Path) -> None:
    content = gpt2_file()
    change(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: .*" + message):
        read(tmp_path, content)


def vocabulary(specials: dict[str, int], *more: bytes) -> dict[int, bytes]:
    vocab = dict(enumerate([*BYTES, *more]))
    return vocab | {token_id: special.encode() for special, token_id in specials.items()}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (Parts({0: b"a"}, [], {}), "byte 0x00 has no token: tokenizers would drop it"),
        (Parts(vocabulary({"é": 256}), [], {"é": 256}), "cannot hold the token 'é'"),
        (Parts(vocabulary({"Ġ": 256}), [], {"Ġ": 256}), "cannot hold the token 'Ġ'"),
        (Parts(vocabulary({"Ġa": 256}), [], {"Ġa": 256}), "cannot hold the token 'Ġa'"),
        (
            Parts(vocabulary({"Ã©": 257}, "é".encode()), [(b"\xc3", b"\xa9")], {"Ã©": 257}),
            "cannot hold the token 'Ã©', id 257",
        ),
        (Parts(vocabulary({}, "é".encode()), [(b"\xc3", b"\xa9")], {"é": 256}), "cannot hold the token 'é'"),
        (Parts(vocabulary({}), [], {}, r"^\w+$"), r"may differ in '\^\\\\w\+\$'"),
    ],
)
def test_what_tokenizers_would_encode_otherwise_is_not_written(
    parts: Parts, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        huggingface.write(tmp_path / "tokenizer.json", parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "regex", [LLAMA3, GPT2_PATTERN, r"[^\S\n]+|\d", r"(a)(b)?+|[^ab]", r"\$+(?<!x)", r"[a-]++."]
)
def test_regexes_that_both_engines_understand_alike_pass(regex: str) -> None:
    assert find_shared_pattern(regex).regex == regex


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        (r"\p{N}{1,3}+", r"'\{1,3\}\+'"),
        ("gpt2", "the regex 'gpt2' is the name of another one here"),
        (r"a$", r"'\$'"),
        (r"\w+|x", r"'\\\\w\+\|x'"),
        (r"[[:alpha:]]", "'"),
        (r"[a&&b]", "'"),
        (r"(?i:ss)", "'"),
        (r"(?m)a", "'"),
        (r"a{,2}b", "'"),
        (r"x|a*", "can make"),
        (r"(?=a)|b", "can make"),
        (r"x|(?<![(?=])a?", "can make"),
        (r"(a", "regex"),
        ("(" * 20_000, "regex"),
        ("[a" * 20_000, "regex"),
    ],
)
def test_regexes_that_the_engines_may_understand_differently_are_refused(regex: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_shared_pattern(regex)
