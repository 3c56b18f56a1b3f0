"""Byte-level byte-pair encoding: train a vocabulary, encode text to token ids, decode them back; exactly."""

from .pretokenize import GPT2_PATTERN
from .progress import Progress
from .stream import StreamDecoder
from .tokenizer import Tokenizer
from .train import train_bpe

__all__ = ["GPT2_PATTERN", "Progress", "StreamDecoder", "Tokenizer", "train_bpe"]
