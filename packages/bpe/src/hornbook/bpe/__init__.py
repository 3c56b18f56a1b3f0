"""Byte-level byte-pair encoding: train a vocabulary, encode text to token ids, decode them back; exactly."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "GPT2_PATTERN": "patterns",
    "PretokenCounts": "counts",
    "Progress": "progress",
    "StreamDecoder": "stream",
    "TokenManifest": "token_file",
    "Tokenizer": "tokenizer",
    "count_pretokens": "counting",
    "train_bpe": "train",
    "train_from_counts": "train",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: the commands' `--help`, for one, needs neither numpy nor the rest."""
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
