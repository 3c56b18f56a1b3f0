"""Arguments of a wrong type: refused before any work, by an error that names the value and the rule."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hornbook.bpe import (
    PretokenCounts,
    StreamDecoder,
    Tokenizer,
    count_pretokens,
    train_bpe,
    train_from_counts,
)
from tokenizers_made import BYTES

WRONG: list[Any] = [7, 1.5, b"abc", [1], {1: 2}, object(), np.zeros(3)]

TOKENIZER = Tokenizer(BYTES, [], ["<e>"])
COUNTS = count_pretokens(iter(["low low"]), ["<e>"])

PATH = "a path must be a str or an os.PathLike of one, got"
INTEGER = "must be an integer, got"
PROGRESS = "progress must be a function of stage, done and total, or None; got"


def counts_with(**other: Any) -> PretokenCounts:
    names = ("pattern", "special_tokens", "data", "ends", "counts", "num_bytes")
    return PretokenCounts(**{name: getattr(COUNTS, name) for name in names} | other)


CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a vocabulary": (lambda bad: Tokenizer(bad, []), "vocab must map token ids to bytes, got"),
    "merges": (lambda bad: Tokenizer(BYTES, bad), "merges? .*must be"),
    "a pattern": (lambda bad: Tokenizer(BYTES, [], pattern=bad), "pattern must be a str"),
    "vocab.json": (lambda bad: Tokenizer.from_files(bad, "merges.txt"), PATH),
    "tokenizer.json": (Tokenizer.from_huggingface, PATH),
    "a .tiktoken file": (Tokenizer.from_tiktoken, PATH),
    "a saved tokenizer": (Tokenizer.load, PATH),
    "where to save": (TOKENIZER.save, PATH),
    "where to save vocab.json": (lambda bad: TOKENIZER.save_files(bad, "merges.txt"), PATH),
    "where to save merges.txt": (lambda bad: TOKENIZER.save_files("vocab.json", bad), PATH),
    "where to save tokenizer.json": (TOKENIZER.save_huggingface, PATH),
    "where to save .tiktoken": (TOKENIZER.save_tiktoken, PATH),
    "a token file": (lambda bad: TOKENIZER.encode_file(iter([""]), bad), PATH),
    "a source": (
        lambda bad: TOKENIZER.encode_file(bad, "tokens"),
        "input_path must be|path must be|must hold",
    ),
    "the end of documents": (
        lambda bad: TOKENIZER.encode_file(iter([""]), "tokens", document_end=bad),
        "document_end must be a special token, a str, got",
    ),
    "progress of encode_file": (
        lambda bad: TOKENIZER.encode_file(iter([""]), "tokens", progress=bad),
        PROGRESS,
    ),
    "what is allowed": (lambda bad: TOKENIZER.encode("", allowed_special=bad), "allowed_special"),
    "text": (lambda bad: TOKENIZER.encode([bad]), "text must be str or bytes, got list"),  # type: ignore[arg-type]
    "a batch": (
        lambda bad: TOKENIZER.encode_batch([bad, [bad]]),  # type: ignore[list-item]
        r"texts\[[01]\]: text must be str or bytes",
    ),
    "strings": (
        lambda bad: list(TOKENIZER.encode_iterable([bad])),
        "encode_iterable takes strings, item 0 is",
    ),
    "threads": (lambda bad: TOKENIZER.encode_batch([], num_threads=[bad]), INTEGER),  # type: ignore[arg-type]
    "ids": (lambda bad: TOKENIZER.decode([bad, "a"]), "ids must be integers, got"),  # type: ignore[list-item]
    "a tokenizer": (StreamDecoder, "tokenizer must be a Tokenizer, got"),
    "a vocabulary's size": (lambda bad: train_bpe(iter(["a"]), [bad], []), INTEGER),  # type: ignore[arg-type]
    "progress of training": (lambda bad: train_bpe(iter(["a"]), 300, [], progress=bad), PROGRESS),
    "counts": (lambda bad: train_from_counts(bad, 300), "counts must be PretokenCounts"),
    "progress of learning": (lambda bad: train_from_counts(COUNTS, 300, progress=bad), PROGRESS),
    "progress of counting": (lambda bad: count_pretokens(iter(["a"]), [], progress=bad), PROGRESS),
    "saved counts": (PretokenCounts.load, PATH),
    "where to save counts": (COUNTS.save, PATH),
    "the pattern of counts": (lambda bad: counts_with(pattern=bad), "pattern must be a str"),
    "special tokens of counts": (
        lambda bad: counts_with(special_tokens=[bad]),
        r"special_tokens\[0\] must be",
    ),
    "bytes of counts": (lambda bad: counts_with(num_bytes=[bad]), f"num_bytes {INTEGER}"),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_wrong_type_is_refused_by_name(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, message = CALLS[what]
    for bad in WRONG:
        with pytest.raises((TypeError, ValueError), match=message):
            call(bad)
    assert not list(tmp_path.iterdir())


def test_what_can_only_be_iterated_over_must_be_iterable() -> None:
    calls: tuple[tuple[Callable[[Any], object], str], ...] = (
        (lambda bad: Tokenizer(BYTES, bad), "merges"),
        (TOKENIZER.encode_batch, "texts"),
        (TOKENIZER.encode_iterable, "iterable"),
        (TOKENIZER.decode, "ids"),
        (TOKENIZER.decode_bytes, "ids"),
    )
    for call, name in calls:
        for bad in (None, 7, object()):
            with pytest.raises(TypeError, match=f"{name} must be an iterable of .*, got {bad!r}"):
                call(bad)
