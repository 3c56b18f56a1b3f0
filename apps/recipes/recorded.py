"""What a run's directory says of its model, without loading it, and so without torch."""

import json
from dataclasses import replace
from pathlib import Path

from hornbook.bpe import Tokenizer
from hornbook.nn import TransformerConfig


def recorded_shape(directory: Path) -> TransformerConfig:
    """Return the shape that a run was asked for.

    Raises:
        ValueError: If there is no run, or its configuration is none.
    """
    config = directory / "config.json"
    if not config.is_file():
        msg = f"{directory} is not a run: {config} is missing (train one with `uv run apps/train_ts.py`)"
        raise ValueError(msg)
    try:
        return TransformerConfig.from_fields(json.loads(config.read_bytes())["run"]["experiment"]["model"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{config} is not the configuration of a run: {error!r}"
        raise ValueError(msg) from error


def recorded_model(directory: Path) -> tuple[TransformerConfig, Tokenizer]:
    """Return the shape that a run has, and its tokenizer.

    Raises:
        ValueError: If there is no run, or what it holds is damaged.
    """
    shape, tokenizer = recorded_shape(directory), Tokenizer.load(directory / "tokenizer")
    return model_shape(shape, tokenizer), tokenizer


def model_shape(asked_for: TransformerConfig, tokenizer: Tokenizer) -> TransformerConfig:
    """Return the shape that fits the tokenizer: a small text may give fewer tokens than were asked for."""
    return replace(asked_for, vocab_size=tokenizer.vocab_size)
