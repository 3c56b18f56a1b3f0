"""A run's model and tokenizer, loaded again."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hornbook.bpe import Tokenizer
from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.trainer import Checkpoints, WhichCheckpoint

from .stories import END_OF_TEXT


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What it takes to generate."""

    model: TransformerLM
    tokenizer: Tokenizer
    stop_id: int
    step: int


def load_run(directory: Path, device: torch.device, checkpoint: WhichCheckpoint = "latest") -> TrainedModel:
    """Load a checkpoint of a run, the newest if not said otherwise, verified, with its tokenizer.

    Raises:
        ValueError: If there is no run, no such checkpoint, or a damaged one.
    """
    config = directory / "config.json"
    if not config.is_file():
        msg = f"{directory} is not a run: {config} is missing (train one with `uv run apps/train_ts.py`)"
        raise ValueError(msg)
    try:
        shape = TransformerConfig(**json.loads(config.read_bytes())["run"]["experiment"]["model"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{config} is not the configuration of a run: {error!r}"
        raise ValueError(msg) from error
    tokenizer = Tokenizer.load(directory / "tokenizer")
    model = TransformerLM(model_shape(shape, tokenizer), device=device)
    restored = Checkpoints(directory / "checkpoints").restore_weights(model, checkpoint)
    if restored is None:
        msg = f"{directory} has no checkpoint yet"
        raise ValueError(msg)
    (stop_id,) = tokenizer.encode(END_OF_TEXT)
    return TrainedModel(model, tokenizer, stop_id, restored.step)


def model_shape(asked_for: TransformerConfig, tokenizer: Tokenizer) -> TransformerConfig:
    """Return the shape that fits the tokenizer: a small text may give fewer tokens than were asked for."""
    return replace(asked_for, vocab_size=tokenizer.vocab_size)
