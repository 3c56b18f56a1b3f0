"""hornbook.bpe beside tiktoken and tokenizers: the same merges give the same ids."""

import random
from functools import cache
from pathlib import Path

import pytest

from hornbook.bpe import GPT2_PATTERN, Tokenizer, train_bpe

SPECIALS = ["<|endoftext|>", "<|endoftext|><|endoftext|>"]
FRAGMENTS = [
    *[
        "the",
        " cat",
        " sat",
        "s",
        "'ll",
        "'s",
        "'",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\ufeff",
        "42",
        "½",
        "!?",
    ],
    *[
        "é",
        "e\u0301",
        "日本語",
        "привет",
        "مرحبا",
        "हिन्दी",
        "🙂",
        "👩\u200d👩",
        "\u3000",
        "\xa0",
        "\x1c",
        "_",
        "aaaa",
    ],
]


def generated(seed: int, length: int) -> str:
    draw = random.Random(seed)
    letters = [chr(draw.randrange(0x20, 0x2FF)) for _ in range(20)]
    return "".join(draw.choices([*FRAGMENTS, *letters], k=length))


@cache
def tokenizer_and_texts(folder: Path) -> tuple[Tokenizer, list[str]]:
    path = folder / "text.txt"
    path.write_bytes(generated(0, 20_000).encode())
    vocab, merges = train_bpe(path, 1_000, SPECIALS)
    texts = [generated(seed, 200) for seed in range(1, 200)]
    return Tokenizer(vocab, merges, SPECIALS), [
        *texts,
        *(SPECIALS[seed % 2].join(texts[:seed]) for seed in range(9)),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


def test_tiktoken_gives_the_same_ids(folder: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    tokenizer, texts = tokenizer_and_texts(folder)
    special_ids = {special: token_id for token_id, special in enumerate(SPECIALS)}
    # tiktoken takes ids for ranks, and ours are in order of the merges
    ranks = {token: token_id for token_id, token in tokenizer.vocab.items() if token_id >= len(SPECIALS)}
    peer = tiktoken.Encoding(
        "hornbook", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special_ids
    )
    for text in texts:
        assert tokenizer.encode(text) == peer.encode(text, allowed_special="all")


def test_tokenizers_gives_the_same_ids(folder: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer, texts = tokenizer_and_texts(folder)
    tokenizer.save(folder / "saved")
    peer = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(str(folder / "saved/vocab.json"), str(folder / "saved/merges.txt"))
    )
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.decoder = tokenizers.decoders.ByteLevel()
    peer.add_special_tokens(SPECIALS)
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == peer.encode(text).ids
        assert peer.decode(ids, skip_special_tokens=False) == text
