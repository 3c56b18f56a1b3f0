"""The other tokenizers, made to do the same work: trained on the same documents, given the same vocabulary.

gigatoken 0.10.0: `train_bpe(path, ...)` with tie_breaking="huggingface" learns the merges of Hugging Face's.
Of its ways to encode, `encode(bytes)` and `encode_batch(BytesSource(bytes, separator), parallel=False)` are
the fastest on one thread, `encode_files` and `encode_batch` with `parallel=True` on several, as many as
RAYON_NUM_THREADS says. Its ids are always uint32; with a separator it leaves the special tokens out.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import tiktoken
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from corpora import END_OF_TEXT
from hornbook.bpe import GPT2_PATTERN

Merges = list[tuple[bytes, bytes]]


def train_tokenizers(path: Path, vocab_size: int) -> Merges:
    """Train Hugging Face's; by documents, because from a file it takes lines, and special tokens for text."""
    peer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator(path.read_text(encoding="utf-8").split(END_OF_TEXT), trainer)
    value = {char: byte for byte, char in byte_chars().items()}
    merges = json.loads(peer.to_str())["model"]["merges"]
    return [(bytes(map(value.__getitem__, a)), bytes(map(value.__getitem__, b))) for a, b in merges]


def train_gigatoken(path: Path, vocab_size: int) -> Merges:
    """Train gigatoken, with Hugging Face's rule for ties."""
    gigatoken: Any = import_module("gigatoken")  # in the group benchmarks alone
    _, merges = gigatoken.train_bpe(path, vocab_size, [END_OF_TEXT], tie_breaking="huggingface")
    return list(merges)


def same_tiktoken(vocab: Mapping[int, bytes]) -> tiktoken.Encoding:
    """A tiktoken encoding of the same vocabulary: it takes the order of the ids for that of the merges."""
    ids = {token: token_id for token_id, token in vocab.items()}
    special = {END_OF_TEXT: ids.pop(END_OF_TEXT.encode())}
    return tiktoken.Encoding("same", pat_str=GPT2_PATTERN, mergeable_ranks=ids, special_tokens=special)


def same_tokenizers(
    vocab: Mapping[int, bytes], merges: Sequence[tuple[bytes, bytes]]
) -> tokenizers.Tokenizer:
    """A Hugging Face tokenizer of the same vocabulary and merges."""
    spelled = {spell(token): token_id for token_id, token in vocab.items()}
    special_id = spelled.pop(spell(END_OF_TEXT.encode()))
    spelled[END_OF_TEXT] = special_id
    peer = _byte_level(models.BPE(vocab=spelled, merges=[(spell(a), spell(b)) for a, b in merges]))
    peer.decoder = decoders.ByteLevel()
    peer.add_special_tokens([END_OF_TEXT])
    return peer


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    peer = tokenizers.Tokenizer(model)
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return peer


def byte_chars() -> dict[int, str]:
    """The printable character that GPT-2's files write for each byte."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def spell(token: bytes) -> str:
    """A token as GPT-2's files write it."""
    return "".join(map(_CHARS.__getitem__, token))


_CHARS = byte_chars()
