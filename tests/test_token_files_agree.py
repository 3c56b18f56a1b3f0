"""bpe writes token files and the trainer reads them, though neither imports the other."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from hornbook.bpe import Tokenizer
from hornbook.trainer import open_token_file, write_token_file

TEXT = "One.<|endoftext|>\nTwo and three.<|endoftext|>\n"


@pytest.mark.parametrize("num_tokens", [257, 65_536, 65_537])
def test_the_trainer_reads_what_the_tokenizer_writes(num_tokens: int, tmp_path: Path) -> None:
    more = {256 + index: b"\xff" + index.to_bytes(3) for index in range(num_tokens - 257)}
    vocab = {value: bytes([value]) for value in range(256)} | more
    tokenizer = Tokenizer(vocab, [], ["<|endoftext|>"])
    assert tokenizer.vocab_size == num_tokens
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8", newline="")
    written = tokenizer.encode_file(text, tmp_path / "tokens.bin")
    file = open_token_file(
        tmp_path / "tokens.bin", vocab_size=num_tokens, tokenizer=tokenizer.fingerprint, verify="always"
    )
    assert file.tokens.tolist() == tokenizer.encode(TEXT)
    assert asdict(file.manifest) == asdict(written)
    assert file.manifest.text == hashlib.sha256(TEXT.encode()).hexdigest()
    documents = np.fromfile(tmp_path / "tokens.bin.documents", "<u8")
    ends = np.flatnonzero(file.tokens == num_tokens - 1)
    assert documents.tolist() == [0, *(ends[:-1] + 1).tolist(), int(ends[-1]) + 1]


def test_both_write_the_same_file_for_the_same_ids(tmp_path: Path) -> None:
    tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [])
    text = tmp_path / "text.txt"
    text.write_bytes(TEXT.encode())
    ours = tokenizer.encode_file(text, tmp_path / "ours.bin")
    theirs = write_token_file(
        tmp_path / "theirs.bin",
        [tokenizer.encode_to_numpy(TEXT)],
        vocab_size=256,
        tokenizer=tokenizer.fingerprint,
        text=hashlib.sha256(TEXT.encode()).hexdigest(),
    )
    assert asdict(ours) == asdict(theirs)
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "theirs.bin").read_bytes()
