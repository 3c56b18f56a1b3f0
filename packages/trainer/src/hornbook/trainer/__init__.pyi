"""The public names, and where each is; `__init__.py` reads it, and type checkers."""

from .accumulation import accumulate
from .activation_checkpointing import checkpoint_activations
from .background_sink import BackgroundSink
from .bad_steps import BadStep, BadStepFile, DivergedError
from .batches import Batch, Batches, WindowBatches, epoch_windows, gather_windows, get_batch, random_windows
from .checkpoint import Checkpoints
from .checkpoint_directory import (
    Restored,
    load_weights,
    restore_checkpoint,
    verify_checkpoint,
)
from .checkpoint_file import load_checkpoint, save_checkpoint
from .checkpoint_json import CheckpointError, CheckpointVersionError
from .checkpoint_store import CheckpointStore
from .choices import Precision, WhichCheckpoint
from .compile import compile_blocks, compiled
from .determinism import deterministic
from .distributed import OtherRankError, World, joined_world
from .evaluation import Evaluation, Loss, evaluate
from .files import atomic_directory, atomic_file, made_directory, remove_leftovers, sha256_of_file
from .json_lines import JsonLinesSink
from .logs import COLUMNS, TIMED_COLUMNS, CsvSink, Row, Sink, read_rows
from .loop import Outcome, train
from .loop_config import LoopConfig
from .parallel import Parallel, ParallelLoss, parallelize
from .permutation import permuted
from .precision import LossScale, allow_tf32, autocast, choose_precision
from .prefetching import prefetch
from .progress import Progress
from .run_directories import check_configuration, recorded_configuration, run_directory
from .run_lock import RunDirectoryError, check_not_held
from .shared_checkpoints import SharedCheckpoints
from .signals import StopRequest, stop_on_signals
from .state import seed_everything
from .tensorboard_sink import TensorBoardSink
from .token_file import TokenFile, TokenManifest, open_token_file, token_dtype, write_token_file
from .unchanged import known_sha256
from .wandb_sink import WandbSink
from .weight_average import WeightAverage

__all__ = [
    "COLUMNS",
    "TIMED_COLUMNS",
    "BackgroundSink",
    "BadStep",
    "BadStepFile",
    "Batch",
    "Batches",
    "CheckpointError",
    "CheckpointStore",
    "CheckpointVersionError",
    "Checkpoints",
    "CsvSink",
    "DivergedError",
    "Evaluation",
    "JsonLinesSink",
    "LoopConfig",
    "Loss",
    "LossScale",
    "OtherRankError",
    "Outcome",
    "Parallel",
    "ParallelLoss",
    "Precision",
    "Progress",
    "Restored",
    "Row",
    "RunDirectoryError",
    "SharedCheckpoints",
    "Sink",
    "StopRequest",
    "TensorBoardSink",
    "TokenFile",
    "TokenManifest",
    "WandbSink",
    "WeightAverage",
    "WhichCheckpoint",
    "WindowBatches",
    "World",
    "accumulate",
    "allow_tf32",
    "atomic_directory",
    "atomic_file",
    "autocast",
    "check_configuration",
    "check_not_held",
    "checkpoint_activations",
    "choose_precision",
    "compile_blocks",
    "compiled",
    "deterministic",
    "epoch_windows",
    "evaluate",
    "gather_windows",
    "get_batch",
    "joined_world",
    "known_sha256",
    "load_checkpoint",
    "load_weights",
    "made_directory",
    "open_token_file",
    "parallelize",
    "permuted",
    "prefetch",
    "random_windows",
    "read_rows",
    "recorded_configuration",
    "remove_leftovers",
    "restore_checkpoint",
    "run_directory",
    "save_checkpoint",
    "seed_everything",
    "sha256_of_file",
    "stop_on_signals",
    "token_dtype",
    "train",
    "verify_checkpoint",
    "write_token_file",
]
