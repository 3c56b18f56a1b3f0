"""hornbook.bpe beside tiktoken and tokenizers: what is learned, the ids, and OpenAI's own vocabularies."""

import itertools
import json
import random
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hornbook.bpe import Tokenizer, train_bpe

END_OF_TEXT = "<|endoftext|>"
SPECIALS = [END_OF_TEXT, END_OF_TEXT * 2]
PATTERNS = ["gpt2", "cl100k", "o200k"]
OpenAI = Callable[[str], tuple[Tokenizer, Any]]
SPELLED = (
    "the| cat| sat|s|The CAT|camelCaseWord|'ll|'LL|'s|'S|'\u017f|'|\u2019s| 're|don't|aaaa"
    "| |  |   |\n|\n\n|\r\n|\r|\t| \n |\v|\x1c|\x85|\xa0|\u2028|\u3000"
    "|\0|\ufeff|\u200b|\xad|42|1234567| 007|½|\u2167|\u0663|!?|...|//\n|_| $"
    "|é|e\u0301|\u01c4|\u01c5|\u02b0|ß|日本語|привет|مرحبا|हिन्दी|ไทย|🙂|👩\u200d👩|\U0010ffff"
)
FRAGMENTS = SPELLED.split("|")


@cache
def blocks_of_old_characters() -> list[str]:
    """Characters that kept their class since Unicode 3.2, by blocks of 128: everyone knows them."""
    old = unicodedata.ucd_3_2_0
    kept = (
        chr(code)
        for code in range(0x20, 0x30000)
        if old.category(chr(code)) == unicodedata.category(chr(code)) not in {"Cn", "Cs"}
    )
    return ["".join(block) for _, block in itertools.groupby(kept, key=lambda char: ord(char) // 128)]


def hostile(seed: int, length: int) -> str:
    """Fragments that a pattern may get wrong, letters of one alphabet, and now and then of any."""
    draw = random.Random(seed)
    blocks = draw.choices(blocks_of_old_characters(), k=10)
    alphabet = draw.choice(blocks)
    letters = [*draw.choices(alphabet, k=20), *map(draw.choice, blocks)]
    return "".join(draw.choices([*FRAGMENTS, *letters], k=length))


@cache
def trained(folder: Path, pattern: str) -> tuple[Tokenizer, list[str]]:
    path = folder / "text.txt"
    path.write_bytes(END_OF_TEXT.join(hostile(seed, 2_000) for seed in range(20)).encode())
    vocab, merges = train_bpe(path, 2_000, SPECIALS, pattern=pattern)
    texts = [hostile(seed, 200) for seed in range(100, 400)]
    texts += [SPECIALS[seed % 2].join(texts[:seed]) for seed in range(9)]
    return Tokenizer(vocab, merges, SPECIALS, pattern=pattern), texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


def tiktoken_pattern(monkeypatch: pytest.MonkeyPatch, pattern: str) -> str:
    """The regex of tiktoken's own definition; the vocabulary that goes with it would have to be fetched."""
    pytest.importorskip("tiktoken")
    from tiktoken_ext import openai_public  # type: ignore[import-untyped]

    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **_: {})
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    name = {"gpt2": "gpt2", "cl100k": "cl100k_base", "o200k": "o200k_base"}[pattern]
    regex: str = getattr(openai_public, name)()["pat_str"]
    return regex


@pytest.mark.parametrize("pattern", PATTERNS)
def test_tiktoken_gives_the_same_ids(folder: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    tokenizer, texts = trained(folder, pattern)
    # tiktoken takes ids for ranks, and ours are in order of the merges
    ranks = {token: token_id for token_id, token in tokenizer.vocab.items() if token_id >= len(SPECIALS)}
    peer = tiktoken.Encoding(
        "hornbook",
        pat_str=tiktoken_pattern(monkeypatch, pattern),
        mergeable_ranks=ranks,
        special_tokens={special: token_id for token_id, special in enumerate(SPECIALS)},
    )
    for text in texts:
        assert tokenizer.encode(text) == peer.encode(text, allowed_special="all")
        assert tokenizer.encode_ordinary(text) == peer.encode_ordinary(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokenizers_gives_the_same_ids(folder: Path, byte_level: Callable[[Any], Any]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer, texts = trained(folder, "gpt2")
    tokenizer.save_files(folder / "vocab.json", folder / "merges.txt")
    model = tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    peer = byte_level(model)
    peer.add_special_tokens(SPECIALS)
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == peer.encode(text).ids
        assert peer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("seed", range(30))
def test_with_its_rule_for_ties_hugging_faces_trainer_learns_the_same_merges(
    seed: int, tmp_path: Path, byte_level: Callable[[Any], Any]
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    draw = random.Random(seed)
    fragments = draw.sample(FRAGMENTS, draw.randint(3, len(FRAGMENTS)))  # few fragments, many ties
    documents = ["".join(draw.choices(fragments, k=draw.randint(1, 300))) for _ in range(5)]
    path = tmp_path / "text.txt"
    path.write_bytes(END_OF_TEXT.join(documents).encode())
    vocab_size = draw.choice([258, 300, 600])
    vocab, merges = train_bpe(path, vocab_size, [END_OF_TEXT], tie_break="smallest ids")

    peer = byte_level(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator(
        documents, trainer
    )  # from a file it would take lines, and the special token for text
    Tokenizer(vocab, merges, [END_OF_TEXT]).save_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    spelled = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert [tuple(line.split()) for line in spelled if not line.startswith("#version")] == [
        tuple(merge) for merge in json.loads(peer.to_str())["model"]["merges"]
    ]


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_openais_own_vocabularies_give_the_ids_of_tiktoken(openai: OpenAI, name: str) -> None:
    tokenizer, peer = openai(name)
    assert tokenizer.vocab_size == peer.n_vocab
    for seed in range(1_000):
        text = hostile(seed, 100) + END_OF_TEXT * (seed % 3) + hostile(seed + 1, 100)
        assert tokenizer.encode(text) == peer.encode(text, allowed_special="all"), seed
        assert tokenizer.encode_ordinary(text) == peer.encode_ordinary(text), seed


def test_gpt2s_own_files_give_the_ids_of_hugging_faces_tokenizer(openai: OpenAI, gpt2_peer: Any) -> None:
    tokenizer, _ = openai("gpt2")
    texts = [hostile(seed, 100) + END_OF_TEXT * (seed % 3) for seed in range(1_000)]
    assert tokenizer.encode_batch(texts) == [encoding.ids for encoding in gpt2_peer.encode_batch(texts)]
