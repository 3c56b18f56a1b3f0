"""GGUF, the one file of llama.cpp: weights, shape and tokenizer. Needs the package gguf, an extra."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..config import TransformerConfig
from ..transformer import TransformerLM
from .architectures import GGUF, architecture_of, rename, to_halves
from .files import written_aside
from .gguf_vocabulary import GGUFVocabulary
from .tensors import check_finite
from .weights import weights_of


def save_gguf(
    model: TransformerLM,
    path: str | os.PathLike[str],
    vocabulary: GGUFVocabulary,
    *,
    dtype: torch.dtype = torch.float32,
    name: str = "hornbook",
) -> None:
    """Write a model and its tokenizer as one file for llama.cpp; a file of that name is replaced.

    It becomes a "llama", or a "qwen3" with `qk_norm`. llama.cpp rotates neighbours in the one, as hornbook
    does, and halves in the other: its conversion of Hugging Face's files moves the rows of a Llama back.

    Args:
        model: The model.
        path: The file; its directory must exist.
        vocabulary: The tokenizer.
        dtype: torch.float32, exact for weights in half precision too, or torch.float16 for the matrices; the
            gains of the norms stay float32, as llama.cpp asks.
        name: What llama.cpp calls the model.

    Raises:
        ModuleNotFoundError: If the package gguf is not installed.
        TypeError: If it is no TransformerLM.
        ValueError: If neither architecture computes what this model does: the field of the config is named.
            Also if the vocabulary is of another size, a weight is not finite or too large for float16, or the
            dtype is another.
        OSError: If the disk is full or can't be written.
    """
    gguf = _gguf()
    if dtype not in (torch.float32, torch.float16):
        msg = f"dtype must be torch.float32 or torch.float16, got {dtype}: llama-quantize makes the others"
        raise ValueError(msg)
    weights = weights_of(model)
    config = model.config
    architecture = architecture_of(config)
    if config.rope_scaling is not None:
        msg = f"rope_scaling must be None in GGUF, got {config.rope_scaling}: save_huggingface keeps it"
        raise ValueError(msg)
    if len(vocabulary.vocab) != config.vocab_size:
        msg = (
            f"the vocabulary must have as many tokens as the model, {config.vocab_size}, got"
            f" {len(vocabulary.vocab)}: it is not the tokenizer that the model was trained with"
        )
        raise ValueError(msg)
    with written_aside(Path(path)) as (aside,):
        writer = gguf.GGUFWriter(aside, architecture)
        writer.add_name(name)
        file_types = gguf.LlamaFileType
        writer.add_file_type(file_types.ALL_F32 if dtype == torch.float32 else file_types.MOSTLY_F16)
        _add_shape(writer, config)
        _add_tokenizer(writer, gguf, vocabulary)
        for own_name, weight in weights.items():
            if architecture == "qwen3":
                weight = to_halves(own_name, weight, config)
            wanted = dtype if weight.ndim == 2 else torch.float32
            values = check_finite(own_name, weight, wanted).contiguous()
            writer.add_tensor(rename(own_name, GGUF), values.numpy())
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _gguf() -> ModuleType:
    try:
        import gguf  # here: most programs write no such file
    except ModuleNotFoundError as error:
        msg = f"GGUF needs a package that is not installed, {error.name}: pip install 'hornbook-nn[gguf]'"
        raise ModuleNotFoundError(msg, name=error.name) from None
    return gguf


def _add_shape(writer: Any, config: TransformerConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_width)


def _add_tokenizer(writer: Any, gguf: ModuleType, vocabulary: GGUFVocabulary) -> None:
    specials = set(vocabulary.special_tokens.values())
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.spelled())
    writer.add_token_types(
        [kinds.CONTROL if token_id in specials else kinds.NORMAL for token_id in range(len(vocabulary.vocab))]
    )
    writer.add_token_merges(vocabulary.spelled_merges())
    end_of_text = vocabulary.special_tokens[vocabulary.end_of_text]
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(end_of_text)
    # No id that the text does not hold, as everywhere in hornbook; who wants one in front asks for it.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
