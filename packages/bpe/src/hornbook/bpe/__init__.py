"""Byte-level byte-pair encoding: train a vocabulary, encode text to token ids, decode them back; exactly."""

from .counting import count_pretokens
from .counts import PretokenCounts
from .patterns import GPT2_PATTERN
from .progress import Progress
from .stream import StreamDecoder
from .token_file import TokenManifest
from .tokenizer import Tokenizer
from .train import train_bpe, train_from_counts

__all__ = [
    "GPT2_PATTERN",
    "PretokenCounts",
    "Progress",
    "StreamDecoder",
    "TokenManifest",
    "Tokenizer",
    "count_pretokens",
    "train_bpe",
    "train_from_counts",
]
