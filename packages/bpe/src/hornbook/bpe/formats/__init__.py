"""Tokenizers in files. Each module has `read`, which returns `Parts`, and `write`, which takes them.

| module | files |
|---|---|
| gpt2 | vocab.json and merges.txt |
| huggingface | tokenizer.json, of the packages tokenizers and transformers |
| tiktoken | tokens in base64 and their ranks |
| directory | this package's own: GPT-2's two files, the special tokens, the pattern and check sums |

Whatever a file holds, a reader returns what it says exactly or raises a ValueError that names the file; a
file that isn't there is a FileNotFoundError. Writers make files whole or not at all and replace none.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from .parts import Parts

if TYPE_CHECKING:
    from . import directory, gpt2, huggingface, tiktoken

__all__ = ["Parts", "directory", "gpt2", "huggingface", "tiktoken"]


def __getattr__(name: str) -> ModuleType:
    """Load a format when it is first used: together they take longer than the rest of the package."""
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
