"""What hornbook.bpe writes, tokenizers, transformers and tiktoken load, and the other way round: same ids."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hornbook.bpe import Tokenizer
from hornbook.bpe.formats.gpt2 import printable
from hornbook.bpe.patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, find_pattern
from json_nodes import places, replaced

SPECIALS = ["<|endoftext|>", "<|endoftext|><|endoftext|>", "<|my token|>", "é!é"]
CUSTOM = r"\p{Lu}?\p{Ll}+|\p{N}{2}|[^\S\r\n]+(?=\S)|.|\n"
PATTERNS = {"gpt2": GPT2_PATTERN, "cl100k": CL100K_PATTERN, "o200k": O200K_PATTERN, CUSTOM: CUSTOM}
WORDS = (
    "the cat sat 's 'S '\u017f 'Ll 'lL 'RE 'm ' - _ / // !? 42 1234567 ½\u0663 é e\u0301 日本語 привет"
    " ǅ ʰ A ABC İ ß ﬀ aaaa x.y <| |> Ġ Ã"
)
SPACES = [*" \n\t\0\ufeff🙂\u3000\xa0\x1c\x85\u2028\u200b", "  ", "\r\n", " \n \n", "\n  "]
FRAGMENTS = WORDS.split(" ") + SPACES


def generated(seed: int, length: int = 40) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(["", " ", ""]) + draw.choice(FRAGMENTS) for _ in range(length))


def texts() -> Iterator[str]:
    for seed in range(1, 120):
        yield generated(seed, seed)
        yield SPECIALS[seed % len(SPECIALS)].join(generated(seed + part, 3) for part in range(1_000, 1_005))


@cache
def trained(pattern: str, *, first: bool = False) -> Tokenizer:
    """A vocabulary of 200 merges, learned by counting: this must not hang on what it is to prove."""
    words = Counter(word.encode() for word in find_pattern(pattern).split(generated(0, 20_000)))
    split = {word: [bytes([value]) for value in word] for word in words}
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(200):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, count in words.items():
            for pair in pairwise(split[word]):
                pairs[pair] += count
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append((left, right))
        for parts in split.values():
            index = 0
            while index < len(parts) - 1:
                if (parts[index], parts[index + 1]) == (left, right):
                    parts[index : index + 2] = [left + right]
                index += 1
    ordinary = [*(bytes([value]) for value in range(256)), *(left + right for left, right in merges)]
    names = [special.encode() for special in SPECIALS]
    vocab = dict(enumerate([*names, *ordinary] if first else [*ordinary, *names]))
    return Tokenizer(vocab, merges, SPECIALS, pattern=pattern)


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    ids = {token: token_id for token_id, token in reversed(tokenizer.vocab.items())}
    return {special: ids[special.encode()] for special in tokenizer.special_tokens}


every_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=["gpt2", "cl100k", "o200k", "custom"])
both_places = pytest.mark.parametrize("first", [False, True], ids=["specials last", "specials first"])


@every_pattern
@both_places
def test_tokenizers_reads_what_we_write(pattern: str, first: bool, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = trained(pattern, first=first)
    tokenizer.save_huggingface(tmp_path / "tokenizer.json")
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert peer.get_vocab_size() == tokenizer.vocab_size
    for text in texts():
        ids = tokenizer.encode(text)
        assert peer.encode(text).ids == ids
        if "é!é" not in text:  # ByteLevel's decoder takes a special token for a spelling of bytes if it can
            assert peer.decode(ids, skip_special_tokens=False) == text
    assert Tokenizer.from_huggingface(tmp_path / "tokenizer.json").fingerprint == tokenizer.fingerprint


@every_pattern
@both_places
def test_transformers_reads_what_we_write(pattern: str, first: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = trained(pattern, first=first)
    tokenizer.save_huggingface(tmp_path / "tokenizer.json")
    peers = [
        transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json")),
        transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True),
    ]
    peers[0].save_pretrained(tmp_path / "again")
    for peer in peers:
        assert len(peer) == tokenizer.vocab_size
        for text in texts():
            assert peer(text)["input_ids"] == tokenizer.encode(text)
    # What transformers wrote itself loads here.
    again = Tokenizer.from_huggingface(tmp_path / "again/tokenizer.json")
    assert again.fingerprint == tokenizer.fingerprint


@every_pattern
@both_places
def test_tiktoken_reads_what_we_write(pattern: str, first: bool, tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    load = pytest.importorskip("tiktoken.load")
    if pattern == CUSTOM:
        pytest.skip("tiktoken drops what the pattern skips, here '\\r'")
    tokenizer = trained(pattern, first=first)
    tokenizer.save_tiktoken(tmp_path / "t.tiktoken")
    peer = tiktoken.Encoding(
        "hornbook",
        pat_str=PATTERNS[pattern],
        mergeable_ranks=load.load_tiktoken_bpe(str(tmp_path / "t.tiktoken")),
        special_tokens=special_ids(tokenizer),
        explicit_n_vocab=tokenizer.vocab_size,
    )
    for text in texts():
        assert peer.encode(text, allowed_special="all") == tokenizer.encode(text)
        assert peer.encode_ordinary(text) == tokenizer.encode_ordinary(text)
    again = Tokenizer.from_tiktoken(tmp_path / "t.tiktoken", special_ids(tokenizer), pattern=pattern)
    assert again.fingerprint == tokenizer.fingerprint


@both_places
def test_tokenizers_reads_our_vocab_json_and_merges_txt(first: bool, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = trained("gpt2", first=first)
    tokenizer.save_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    model = tokenizers.models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    peer = tokenizers.Tokenizer(model)
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in texts():
        ordinary = text.replace("<|", "")
        assert peer.encode(ordinary).ids == tokenizer.encode_ordinary(ordinary)
    model.save(str(tmp_path), "peer")
    again = Tokenizer.from_files(tmp_path / "peer-vocab.json", tmp_path / "peer-merges.txt", SPECIALS)
    assert again.fingerprint == tokenizer.fingerprint


def test_a_tokenizer_that_tokenizers_trained_loads_here(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    peer.train_from_iterator([generated(0, 20_000)], trainer)
    peer.add_tokens(["sat on", tokenizers.AddedToken("<tool>", normalized=False)])
    peer.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_huggingface(tmp_path / "tokenizer.json")
    for text in [*texts(), "<tool>a sat on<|endoftext|>sat on"]:
        assert tokenizer.encode(text) == peer.encode(text).ids


def llama_style(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """All ways to make a token, as transformers converts ranks: by the product, then by the parts."""
    return [
        (token[:cut], token[cut:])
        for token in ranks
        for cut in sorted(
            (cut for cut in range(1, len(token)) if token[:cut] in ranks and token[cut:] in ranks),
            key=lambda cut: (ranks[token[:cut]], ranks[token[cut:]]),
        )
    ]


def test_merges_that_make_a_token_in_all_ways_give_the_same_ids(tmp_path: Path) -> None:
    """Llama 3's form: tokenizers and tiktoken agree on it, and so do we, read from either."""
    tokenizers, tiktoken = pytest.importorskip("tokenizers"), pytest.importorskip("tiktoken")
    tokenizer = trained("o200k")
    special = set(special_ids(tokenizer).values())
    ranks = {token: token_id for token_id, token in tokenizer.vocab.items() if token_id not in special}
    merges = llama_style(ranks)
    assert len(merges) > len(tokenizer.merges)
    tokenizer.save_huggingface(tmp_path / "ours.json")
    content = json.loads((tmp_path / "ours.json").read_bytes())
    for name in SPECIALS:
        del content["model"]["vocab"][name]
    content["model"]["merges"] = [[printable(left), printable(right)] for left, right in merges]
    content["model"]["ignore_merges"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    other = tiktoken.Encoding(
        "x", pat_str=O200K_PATTERN, mergeable_ranks=ranks, special_tokens=special_ids(tokenizer)
    )
    loaded = Tokenizer.from_huggingface(tmp_path / "tokenizer.json")
    assert loaded.merges == merges
    loaded.save_tiktoken(tmp_path / "t.tiktoken")  # the further ways never apply, so that it can be written
    for text in texts():
        ids = tokenizer.encode(text)
        assert (
            loaded.encode(text) == peer.encode(text).ids == other.encode(text, allowed_special="all") == ids
        )


VALUES: list[Any] = [
    *[None, True, False, 0, 1, 5, 0.0, 0.5, "", "x", "\ud7ff", "a b", "Ġ", "gpt2", [], {}],
    *["BPE", "ByteLevel", "WordPiece", "Isolated", "Removed", "MergedWithNext", "Regex", "String", "1.0"],
    *[{"type": "NFC"}, {"type": "ByteLevel"}, {"Regex": r"\w+"}, {"Regex": "[a-z]+"}, {"String": "a"}],
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Digits", "individual_digits": True},
    {"type": "Whitespace"},
]


def a_file(form: str, path: Path) -> dict[str, Any]:
    """A small tokenizer.json of one of the forms in the wild."""
    pattern = {"gpt2": "gpt2", "llama": O200K_PATTERN, "custom": CUSTOM}[form]
    kept = trained(pattern).merges[:20]
    tokens = [*(bytes([value]) for value in range(256)), *(left + right for left, right in kept)]
    Tokenizer(dict(enumerate(tokens)), kept, SPECIALS[:2], pattern=pattern).save_huggingface(path)
    content: dict[str, Any] = json.loads(path.read_bytes())
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    content["post_processor"] = byte_level
    if form == "llama":
        template = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": SPECIALS[0], "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIALS[0]: {"id": SPECIALS[0], "ids": [276], "tokens": [SPECIALS[0]]}},
        }
        content["post_processor"] = {"type": "Sequence", "processors": [byte_level, template]}
        content["model"]["ignore_merges"] = True
        content["model"]["merges"] = [merge.split(" ") for merge in content["model"]["merges"]]
        content["model"]["vocab"] = dict(list(content["model"]["vocab"].items())[:276])
        content["added_tokens"][1]["special"] = False
    return content


@pytest.mark.parametrize("form", ["gpt2", "llama", "custom"])
@pytest.mark.parametrize("adds", [True, False], ids=["add_special_tokens", "without"])
def test_any_field_changed_to_anything_gives_tokenizers_ids_or_is_refused(
    form: str, adds: bool, tmp_path: Path
) -> None:
    """Above all: what tokenizers reads in another way than we do must not pass."""
    tokenizers = pytest.importorskip("tokenizers")
    if form != "llama" and not adds:
        pytest.skip("no post-processor adds tokens here")
    file = tmp_path / "tokenizer.json"
    content = a_file(form, file)
    sample = [generated(seed, 25) for seed in range(4)]
    sample += ["<|endoftext|>x <|endoftext|><|endoftext|>", " a b x", "\r"]
    read = refused = 0
    for place in places(content, ends=1, few=15):
        for value in VALUES:
            changed = json.dumps(replaced(content, place, value))
            file.write_text(changed, encoding="utf-8")
            try:
                ours = Tokenizer.from_huggingface(file, add_special_tokens=adds)
            except ValueError:
                refused += 1
                continue
            try:
                theirs = tokenizers.Tokenizer.from_str(changed)
            except Exception:  # tokenizers raises no narrower one
                continue  # stricter than we are: then there are no ids to differ from
            read += 1
            for text in sample:
                try:
                    ids = ours.encode(text)
                except ValueError:  # a byte has no token any more: theirs drops it, ours says so
                    continue
                assert ids == theirs.encode(text, add_special_tokens=adds).ids, (place, value)
    assert read >= (1 if form == "llama" and adds else 40)  # that form adds a token unless told not to
    assert refused > 400
