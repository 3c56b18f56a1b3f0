"""From texts to a tokenizer and token files, cached by the content of the texts."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hornbook.bpe import Tokenizer, train_bpe
from hornbook.trainer import (
    TokenFile,
    atomic_directory,
    open_token_file,
    remove_leftovers,
)

from .console import say, stage_progress
from .stories import END_OF_TEXT
from .texts import Texts

_VERSION = 1  # of what a cache entry holds; another one is made anew


@dataclass(frozen=True, slots=True)
class PreparedData:
    """A tokenizer and the texts in its tokens."""

    entry: Path  # of the cache
    tokenizer: Tokenizer
    train: TokenFile
    valid: TokenFile


def check_vocab_size(vocab_size: int, flag: str = "--vocab-size") -> None:
    """Refuse a vocabulary that can't hold the bytes and the end of a text.

    Raises:
        ValueError: Naming the value and the rule.
    """
    if vocab_size < 257:
        msg = f"{flag} must be at least 257 (256 bytes and {END_OF_TEXT}), got {vocab_size}"
        raise ValueError(msg)


def prepare(
    texts: Texts,
    *,
    train_sha256: str,
    valid_sha256: str,
    vocab_size: int,
    context_length: int,
    cache: Path,
) -> PreparedData:
    """Train the tokenizer and encode both texts, or find them done.

    A cache entry is one directory, whole or absent: tokenizer/, train.bin and valid.bin with their manifests.
    One that was damaged since is made anew.

    Args:
        texts: What to read.
        train_sha256: Of the training text; with the other arguments it names the cache entry.
        valid_sha256: Of the held-out text.
        vocab_size: Size of the vocabulary asked for; a small text may give fewer merges.
        context_length: Tokens a window; a text that gives fewer is refused and nothing is kept.
        cache: Directory of the entries.

    Raises:
        ValueError: If a text is not UTF-8 or gives too few tokens.
    """
    key = json.dumps([_VERSION, train_sha256, valid_sha256, vocab_size, END_OF_TEXT])
    entry = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    data = None
    if entry.exists():
        try:
            data = open_prepared(entry, train_sha256, valid_sha256)
        except (OSError, ValueError) as error:
            say(f"{entry} is damaged and made anew: {error}")
            shutil.rmtree(entry)
    if data is None:
        try:
            _make(entry, texts, train_sha256, valid_sha256, vocab_size, context_length)
        except OSError:
            if not entry.exists():  # else another run has made the same in the meantime
                raise
        data = open_prepared(entry, train_sha256, valid_sha256)
    for path, file in ((texts.train, data.train), (texts.valid, data.valid)):
        check_num_tokens(path, file.num_tokens, context_length)
    return data


def _make(
    entry: Path, texts: Texts, train_sha256: str, valid_sha256: str, vocab_size: int, context_length: int
) -> None:
    if entry.parent.exists():
        remove_leftovers(entry.parent, only_of_dead=True)
    with atomic_directory(entry) as aside, stage_progress() as progress:
        vocab, merges = train_bpe(texts.train, vocab_size, [END_OF_TEXT], progress=progress)
        tokenizer = Tokenizer(vocab, merges, [END_OF_TEXT])
        tokenizer.save(aside / "tokenizer")
        for name, path, sha256 in (
            ("train.bin", texts.train, train_sha256),
            ("valid.bin", texts.valid, valid_sha256),
        ):
            manifest = tokenizer.encode_file(path, aside / name, document_end=END_OF_TEXT, progress=progress)
            if manifest.text != sha256:
                msg = f"{path} has changed since it was first read; start again"
                raise ValueError(msg)
            check_num_tokens(path, manifest.num_tokens, context_length)


def open_prepared(
    entry: Path, train_sha256: str | None = None, valid_sha256: str | None = None
) -> PreparedData:
    """Open an entry of the cache.

    Args:
        entry: Its directory.
        train_sha256: Of the training text that it must have been made from, if that is to be compared.
        valid_sha256: Of the held-out text.

    Raises:
        ValueError: If it is damaged.
        OSError: If it is not there.
    """
    tokenizer = Tokenizer.load(entry / "tokenizer")
    train, valid = (
        open_token_file(
            entry / name,
            vocab_size=tokenizer.vocab_size,
            tokenizer=tokenizer.fingerprint,
            text=sha256,
            document_end=END_OF_TEXT,
        )
        for name, sha256 in (("train.bin", train_sha256), ("valid.bin", valid_sha256))
    )
    return PreparedData(entry, tokenizer, train, valid)


def check_num_tokens(path: Path, num_tokens: int, context_length: int) -> None:
    """Refuse a text that gives no whole window.

    Raises:
        ValueError: Naming the file and both numbers.
    """
    if num_tokens <= context_length:
        msg = (
            f"{path} gives {num_tokens} tokens, a window of context_length={context_length} needs "
            f"{context_length + 1}: give more text or a shorter --context-length"
        )
        raise ValueError(msg)
