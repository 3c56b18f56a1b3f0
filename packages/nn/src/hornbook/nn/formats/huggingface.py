"""The form of Hugging Face transformers, for Llama and Qwen3: config.json and model.safetensors."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..transformer import TransformerLM
from .architectures import HUGGING_FACE, rename, to_halves, to_neighbours
from .files import read_json, write_json, written_aside
from .huggingface_config import dump_config, read_config
from .tensors import Shape, StoredTensor, check_tensors, common_dtype, open_tensors, write_tensors
from .weights import check_dtype, check_sizes, model_from, weight_shapes, weights_of

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_HEAD, _EMBEDDING = rename("lm_head.weight", HUGGING_FACE), rename("token_embeddings.weight", HUGGING_FACE)


def save_huggingface(
    model: TransformerLM,
    directory: str | os.PathLike[str],
    *,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model that `transformers.AutoModelForCausalLM.from_pretrained` opens.

    It becomes a Llama, or a Qwen3 with `qk_norm`. Three files are written: config.json, model.safetensors and
    generation_config.json; a tokenizer is not nn's to write.

    Args:
        model: The model, which stays as it is.
        directory: Where to write: new or empty, for these files have no mark by which those of two models
            could be told apart.
        bos_token_id: What a text begins with; None: nothing.
        eos_token_id: What ends a text, so that `generate` stops there; None: nothing does.
        dtype: Of the weights in the file; None: that of the model.

    Raises:
        TypeError: If it is no TransformerLM, or a token id not an int.
        ValueError: If neither architecture computes what this model does: the field of the config is named.
            Also if a weight is not finite or too large for the dtype, or a token id not in the vocabulary.
        FileExistsError: If the directory is not empty.
        OSError: If the disk is full or can't be written.

    Example:
        >>> import tempfile
        >>> model = TransformerLM(
        ...     TransformerConfig(
        ...         vocab_size=100, context_length=16, num_layers=2, d_model=32, num_heads=4, d_ff=96
        ...     )
        ... )
        >>> directory = tempfile.mkdtemp()
        >>> save_huggingface(model, directory, eos_token_id=0)
        >>> load_huggingface(directory).config == model.config
        True
    """
    weights = weights_of(model, dtype)
    tokens = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id, "pad_token_id": None}
    for name, token_id in tokens.items():
        if token_id is None:
            continue
        if isinstance(token_id, bool) or not isinstance(token_id, int):
            msg = f"{name} must be an int or None, got {token_id!r} of type {type(token_id).__name__}"
            raise TypeError(msg)
        if not 0 <= token_id < model.config.vocab_size:
            msg = f"{name} must be from 0 to {model.config.vocab_size - 1}, got {token_id}"
            raise ValueError(msg)
    config = dump_config(model.config, next(iter(weights.values())).dtype, tokens)
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        msg = f"{path} is not empty: choose another directory, or empty it"
        raise FileExistsError(msg)
    # The config last: without it nothing is read.
    names = ("generation_config.json", _WEIGHTS, _CONFIG)
    with written_aside(*(path / name for name in names)) as (generation_file, weights_file, config_file):
        write_json(generation_file, tokens)
        laid_out = {
            rename(name, HUGGING_FACE): to_halves(name, weight, model.config).contiguous()
            for name, weight in weights.items()
        }
        write_tensors(weights_file, laid_out)
        write_json(config_file, config)


def load_huggingface(
    directory: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """Read a LlamaForCausalLM or Qwen3ForCausalLM from safetensors, in one file or in shards with an index.

    Names and shapes of all weights are compared with config.json before anything is allocated.

    Args:
        directory: Holds config.json and the weights, as `save_pretrained` of transformers writes them.
        device: Where the model is made; None is torch's default device.
        dtype: Of its weights; None is the dtype they are stored in.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the config asks for what hornbook does not compute, such as scaled rotary positions,
            or biases; if a file is damaged; or if a weight is missing, left over, of another shape, NaN or
            infinite. The message names file, field and value.
    """
    check_dtype(dtype)
    path = Path(directory)
    content = read_json(path / _CONFIG)
    try:
        config = read_config(content)
        check_sizes(config)
    except (TypeError, ValueError) as error:
        msg = f"{path / _CONFIG}: {error}"
        raise ValueError(msg) from None
    with open_tensors(*_weight_files(path)) as found:
        stored = {
            name: tensor
            for name, tensor in found.items()
            if not name.endswith("rotary_emb.inv_freq")  # a table that transformers once saved with Llama
        }
        head = stored.pop(_HEAD, None) if config.tied_embeddings else None
        check_tensors(_shapes(config), stored, path)
        dtype = dtype or common_dtype(stored)
        if head is not None:
            _check_tied(head, stored[_EMBEDDING])

        def read(name: str, wanted: torch.dtype) -> Tensor:
            return to_neighbours(name, stored[rename(name, HUGGING_FACE)].read(wanted), config)

        return model_from(config, read, device=device, dtype=dtype)


def _shapes(config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    return ((rename(name, HUGGING_FACE), shape) for name, shape in weight_shapes(config))


def _weight_files(directory: Path) -> list[Path]:
    """Return the file of the weights, or the shards that the index names; the order of transformers."""
    if (directory / _WEIGHTS).is_file():
        return [directory / _WEIGHTS]
    if (directory / _INDEX).is_file():
        index = directory / _INDEX
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            msg = f"{index}: weight_map must map names to files, got {shards!r}"
            raise ValueError(msg)
        for shard in shards.values():
            # A name alone: an index that was downloaded opens no file elsewhere.
            if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
                msg = f"{index}: weight_map must name safetensors files beside it, got {shard!r}"
                raise ValueError(msg)
            if not (directory / shard).is_file():
                msg = f"{directory / shard} is missing, which {_INDEX} names: download or copy it too"
                raise FileNotFoundError(msg)
        return [directory / shard for shard in sorted(set(shards.values()))]
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern))
    if pickles:
        msg = (
            f"{directory / pickles[0]} is a pickle, which can run code when read: let transformers write"
            " safetensors, AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)"
        )
        raise ValueError(msg)
    msg = f"{directory} has neither {_WEIGHTS} nor {_INDEX}"
    raise FileNotFoundError(msg)


def _check_tied(head: StoredTensor, embedding: StoredTensor) -> None:
    """Refuse a head of its own where the config says that there is none."""
    if head.shape != embedding.shape or not torch.equal(
        head.read(head.dtype), embedding.read(embedding.dtype)
    ):
        msg = (
            f"{head.path}: {head.name} differs from {embedding.name}, but config.json says they are tied:"
            " set tie_word_embeddings to false if the head is one of its own"
        )
        raise ValueError(msg)
