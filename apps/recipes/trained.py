"""A run's model and tokenizer, loaded again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from hornbook.bpe import Tokenizer
from hornbook.nn import TransformerLM
from hornbook.trainer import Checkpoints, WhichCheckpoint

from .recorded import recorded_model
from .stories import END_OF_TEXT


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What it takes to generate."""

    model: TransformerLM
    tokenizer: Tokenizer
    stop_id: int
    step: int


def load_run(
    directory: Path, device: torch.device | str, checkpoint: WhichCheckpoint = "latest"
) -> TrainedModel:
    """Load a checkpoint of a run, the newest if not said otherwise, verified, with its tokenizer.

    Raises:
        ValueError: If there is no run, no such checkpoint, or a damaged one, or if the run's tokenizer is not
            the one that the checkpoint was trained with; both fingerprints are named.
    """
    shape, tokenizer = recorded_model(directory)
    model = TransformerLM(shape, device=device)
    checkpoints = Checkpoints(directory / "checkpoints", run={"tokenizer": tokenizer.fingerprint})
    restored = checkpoints.restore_weights(model, checkpoint)
    if restored is None:
        msg = f"{directory} has no checkpoint yet"
        raise ValueError(msg)
    (stop_id,) = tokenizer.encode(END_OF_TEXT)
    return TrainedModel(model, tokenizer, stop_id, restored.step)
