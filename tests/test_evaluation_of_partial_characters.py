"""Bits per byte where tokens are parts of characters: the bytes of the text, however it is cut."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hornbook.bpe import Tokenizer, train_bpe
from hornbook.trainer import evaluate

TEXT = "“naïve” 漢字 и 🦉🦉 café <|endoftext|>" * 20


@pytest.mark.parametrize("vocab_size", [257, 261, 265])
@pytest.mark.parametrize("context_length", [5, 64])
def test_bits_per_byte_divide_by_the_bytes_of_the_text(
    tmp_path: Path, vocab_size: int, context_length: int
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    tokenizer = Tokenizer(*train_bpe(path, vocab_size, ["<|endoftext|>"]), ["<|endoftext|>"])
    ids = np.array(tokenizer.encode(TEXT))
    pieces = [tokenizer.decode_bytes([token]) for token in ids.tolist()]
    partial = [piece for piece in pieces if not _is_whole(piece)]
    assert partial  # tokens that are no characters by themselves are what this is about
    result = evaluate(
        lambda inputs, targets: torch.tensor(math.log(2), dtype=torch.float64),
        ids,
        batch_size=3,
        context_length=context_length,
        token_num_bytes=tokenizer.token_num_bytes,
    )
    # One bit a token; the end of a text stands for no bytes, and the first token is given.
    text_bytes = len(TEXT.replace("<|endoftext|>", "").encode()) - len(pieces[0])
    assert result.num_tokens == len(ids) - 1
    assert result.bits_per_byte == pytest.approx((len(ids) - 1) / text_bytes, rel=1e-12)


def _is_whole(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
