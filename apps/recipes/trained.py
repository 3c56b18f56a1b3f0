"""A run's model and tokenizer, loaded again."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from hornbook.bpe import Tokenizer
from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.trainer import Checkpoints, load_weights

from .stories import END_OF_TEXT


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What it takes to generate."""

    model: TransformerLM
    tokenizer: Tokenizer
    stop_id: int
    step: int


def load_run(directory: Path, device: torch.device) -> TrainedModel:
    """Load the newest checkpoint of a run, verified, with its tokenizer.

    Raises:
        ValueError: If there is no run, no checkpoint, or a damaged one.
    """
    config = directory / "config.json"
    if not config.is_file():
        msg = f"{directory} is not a run: {config} is missing (train one with `uv run apps/train_ts.py`)"
        raise ValueError(msg)
    shape = TransformerConfig(**json.loads(config.read_bytes())["run"]["experiment"]["model"])
    paths = Checkpoints(directory / "checkpoints").paths()
    if not paths:
        msg = f"{directory} has no checkpoint yet"
        raise ValueError(msg)
    model = TransformerLM(shape, device=device)
    step = load_weights(paths[-1], model)
    tokenizer = Tokenizer.load(directory / "tokenizer")
    (stop_id,) = tokenizer.encode(END_OF_TEXT)
    return TrainedModel(model, tokenizer, stop_id, step)
