"""Tensors that lie in shards on several processes, in files: each process writes what it has.

    shard-00001-model-00001-of-00001.safetensors     of rank 0, and so on

torch.distributed.checkpoint does the work, in its Hugging Face form. Its own form is not used: there the
index (`.metadata`) and all that is no tensor are pickles, and to read one is to run code from a file. Here
each file is safetensors, its header says at which offsets of which tensor its parts lie, and no index is
needed. Whole tensors are those of one process; what lies on several as a copy is written by one.

Reading cuts the tensors anew: for any number of processes, and for one.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

SHARD_FILE = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")


def write_shards(directory: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, some of them in shards; every process calls this.

    All name the same tensors, but for those that one process alone has.

    Args:
        directory: There already, on a disk that all processes share.
        tensors: DTensors, or tensors that are the same in every process that names them.

    Raises:
        OSError: In every process, if one of them can't write.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(str(directory), save_distributed=True)
    with _first_error():
        save(dict(tensors), storage_writer=writer)


def shapes_in_shards(directory: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return the shape and type of every whole tensor in a directory of shards, reading headers alone."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    described = HuggingFaceStorageReader(str(directory)).read_metadata().state_dict_metadata
    return {
        name: (tensor.size, tensor.properties.dtype)
        for name, tensor in described.items()
        if isinstance(tensor, TensorStorageMetadata)  # there is no other in safetensors
    }


def read_shards(directory: Path, targets: Mapping[str, Tensor], *, alone: bool) -> None:
    """Fill tensors, whole or in shards of their own, from a directory of shards.

    Args:
        directory: Where `write_shards` wrote, with however many processes.
        targets: Names and tensors to fill in place; each must be there in this shape.
        alone: Whether this process reads for itself, and no other calls this.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(directory))
    with _first_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is one process: that is asked for
        load(dict(targets), storage_reader=reader, no_dist=alone)


@contextmanager
def _first_error() -> Iterator[None]:
    """Raise the error itself that one of the processes met, where torch wraps those of all."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error
