"""Training that can't be lost: token files, batches, the loop, evaluation, logs and checkpoints."""

from .batches import Batch, Batches, gather_windows, get_batch, random_windows
from .checkpoint import (
    CheckpointError,
    Checkpoints,
    CheckpointStore,
    Restored,
    load_checkpoint,
    load_weights,
    restore_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from .evaluation import Evaluation, Loss, evaluate
from .files import atomic_directory, atomic_file, made_directory, remove_leftovers, sha256_of_file
from .logs import COLUMNS, CsvSink, Row, Sink, read_rows
from .loop import DivergedError, LoopConfig, Outcome, train
from .run_directory import RunDirectoryError, check_configuration, recorded_configuration, run_directory
from .signals import StopRequest, stop_on_signals
from .token_file import TokenFile, TokenManifest, open_token_file, token_dtype, write_token_file

__all__ = [
    "COLUMNS",
    "Batch",
    "Batches",
    "CheckpointError",
    "CheckpointStore",
    "Checkpoints",
    "CsvSink",
    "DivergedError",
    "Evaluation",
    "LoopConfig",
    "Loss",
    "Outcome",
    "Restored",
    "Row",
    "RunDirectoryError",
    "Sink",
    "StopRequest",
    "TokenFile",
    "TokenManifest",
    "atomic_directory",
    "atomic_file",
    "check_configuration",
    "evaluate",
    "gather_windows",
    "get_batch",
    "load_checkpoint",
    "load_weights",
    "made_directory",
    "open_token_file",
    "random_windows",
    "read_rows",
    "recorded_configuration",
    "remove_leftovers",
    "restore_checkpoint",
    "run_directory",
    "save_checkpoint",
    "sha256_of_file",
    "stop_on_signals",
    "token_dtype",
    "train",
    "verify_checkpoint",
    "write_token_file",
]
