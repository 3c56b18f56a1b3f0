"""A trained model in the forms that other programs read."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from hornbook.nn.formats import GGUFVocabulary, save_gguf, save_huggingface, save_model
from hornbook.trainer import atomic_directory, made_directory

from .stories import END_OF_TEXT
from .trained import TrainedModel

Form = Literal["huggingface", "gguf", "safetensors"]
Dtype = Literal["float32", "float16", "bfloat16"]


def check_out(form: Form, out: Path) -> None:
    """Refuse what can't be written, before a model is loaded.

    Raises:
        ValueError: If the output is there already and holds something, or a package is missing.
    """
    if out.is_symlink():
        msg = f"{out} is a symbolic link: give the place itself, such as {out.resolve()}"
        raise ValueError(msg)
    if form == "gguf":
        if find_spec("gguf") is None:
            msg = "--to gguf needs a package that is not installed: `uv run --extra gguf apps/export.py …`"
            raise ValueError(msg)
        if out.exists():
            rule = (
                "give a name in it, such as model.gguf" if out.is_dir() else "remove it, or give another name"
            )
            msg = f"{out} is there already: {rule}"
            raise ValueError(msg)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} is there already and not an empty directory: remove it, or give another name"
        raise ValueError(msg)


def export(trained: TrainedModel, form: Form, out: Path, dtype: Dtype = "float32") -> list[Path]:
    """Write model and tokenizer, whole or not at all.

    Args:
        trained: What to write.
        form: "huggingface": a directory that transformers' AutoModelForCausalLM and AutoTokenizer open.
            "gguf": one file for llama.cpp. "safetensors": a directory for hornbook's own `load_model`, which
            holds every variant, with the tokenizer in tokenizer/.
        out: The directory or file; missing parents are made.
        dtype: Of the weights.

    Returns:
        The files that were written.

    Raises:
        ValueError: If the output is there already, or the form can't hold the model or the tokenizer: the
            field and its value are named.
        OSError: If the disk is full or can't be written.
    """
    check_out(form, out)
    wanted: torch.dtype = getattr(torch, dtype)
    if form == "gguf":
        with made_directory(out.parent):
            save_gguf(trained.model, out, _vocabulary(trained), dtype=wanted, name=out.stem)
        return [out]
    if out.is_dir():
        out.rmdir()  # it is empty
    with atomic_directory(out) as aside:
        if form == "safetensors":
            save_model(trained.model, aside, dtype=wanted)
            trained.tokenizer.save(aside / "tokenizer")
        else:
            # A text begins where the one before has ended: one token is both.
            tokens = {"bos_token_id": trained.stop_id, "eos_token_id": trained.stop_id}
            save_huggingface(trained.model, aside, dtype=wanted, **tokens)
            trained.tokenizer.save_huggingface(aside / "tokenizer.json")
            (aside / "tokenizer_config.json").write_text(_tokenizer_config(trained), encoding="utf-8")
    return sorted(path for path in out.rglob("*") if path.is_file())


def _vocabulary(trained: TrainedModel) -> GGUFVocabulary:
    tokenizer = trained.tokenizer
    return GGUFVocabulary(
        vocab=tokenizer.vocab,
        merges=tokenizer.merges,
        special_tokens={special: tokenizer.encode(special)[0] for special in tokenizer.special_tokens},
        end_of_text=END_OF_TEXT,
        pattern=tokenizer.pattern,
    )


def _tokenizer_config(trained: TrainedModel) -> str:
    """What transformers.AutoTokenizer wants to know beside tokenizer.json, which adds no token to a text."""
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": trained.model.config.context_length,
        "clean_up_tokenization_spaces": False,
    }
    return json.dumps(content, indent=2) + "\n"
