"""A small model, and changes to a directory that `save_model` has written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from hornbook.nn import TransformerConfig
from hornbook.nn.formats.files import sha256_of_file

TINY = TransformerConfig(vocab_size=13, context_length=8, num_layers=3, d_model=8, num_heads=4, d_ff=12)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change config.json."""
    content = json.loads((path / "config.json").read_text())
    change(content)
    (path / "config.json").write_text(json.dumps(content))


def set_weights(path: Path, weights: bytes | dict[str, Tensor]) -> None:
    """Replace the weights, with a digest that fits: as if they had been saved so."""
    file = path / "model.safetensors"
    if isinstance(weights, bytes):
        file.write_bytes(weights)
    else:
        save_file(weights, file)
    digest = {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
    edit(path, lambda content: content.update(weights=digest))
