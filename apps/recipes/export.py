"""A trained model in the forms that other programs read."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hornbook import nn
from hornbook.accounting import format_bytes, num_parameters
from hornbook.trainer import atomic_directory, made_directory

from .recorded import recorded_shape
from .stories import END_OF_TEXT

if TYPE_CHECKING:
    from .trained import TrainedModel

Form = Literal["huggingface", "gguf", "safetensors"]
Dtype = Literal["float32", "float16", "bfloat16"]


def check_export(run: Path, form: Form, out: Path, dtype: Dtype) -> None:
    """Refuse what can't be done, before a model is loaded.

    Raises:
        ValueError: If there is no run, or what `check_out` refuses.
    """
    check_out(form, out, dtype)
    recorded_shape(run)


def check_out(form: Form, out: Path, dtype: Dtype = "float32") -> None:
    """Refuse what can't be written, before a model is loaded.

    Raises:
        ValueError: If the output is there already and holds something, a package is missing, or the
            form has no such numbers.
    """
    if out.is_symlink():
        msg = f"{out} is a symbolic link: give the place itself, such as {out.resolve()}"
        raise ValueError(msg)
    if form == "gguf":
        if find_spec("gguf") is None:
            msg = "--to gguf needs a package that is not installed: `uv run --extra gguf apps/export.py …`"
            raise ValueError(msg)
        if dtype == "bfloat16":
            msg = "--dtype bfloat16 is not for gguf: give float32 or float16; llama-quantize makes the others"
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


def export(trained: "TrainedModel", form: Form, out: Path, dtype: Dtype = "float32") -> list[Path]:
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
    import torch  # here: it takes seconds, and a wrong --to should not

    check_out(form, out, dtype)
    wanted: torch.dtype = getattr(torch, dtype)
    if form == "gguf":
        with made_directory(out.parent):
            nn.save_gguf(trained.model, out, _vocabulary(trained), dtype=wanted, name=out.stem)
        return [out]
    if out.is_dir():
        out.rmdir()  # it is empty
    with atomic_directory(out) as aside:
        if form == "safetensors":
            nn.save_model(trained.model, aside, dtype=wanted)
            trained.tokenizer.save(aside / "tokenizer")
        else:
            # A text begins where the one before has ended: one token is both.
            tokens = {"bos_token_id": trained.stop_id, "eos_token_id": trained.stop_id}
            nn.save_huggingface(trained.model, aside, dtype=wanted, **tokens)
            trained.tokenizer.save_huggingface(aside / "tokenizer.json")
            (aside / "tokenizer_config.json").write_text(_tokenizer_config(trained), encoding="utf-8")
    return sorted(path for path in out.rglob("*") if path.is_file())


def exported(trained: "TrainedModel", form: Form, out: Path, dtype: Dtype) -> list[str]:
    """Export, and return a line for each file; as for `export`."""
    return [f"{path}  {path.stat().st_size:,} bytes" for path in export(trained, form, out, dtype)]


def described(trained: "TrainedModel", form: Form, out: Path, dtype: Dtype) -> list[str]:
    """Return in lines what would be written; refuses what `export` would."""
    from hornbook.nn.formats import architecture_of

    shape = trained.model.config
    whose = "hornbook's own" if form == "safetensors" else f"a {architecture_of(shape)}"
    size = num_parameters(shape) * (4 if dtype == "float32" else 2)
    return [
        f"model: {num_parameters(shape):,} parameters, as they were at step {trained.step:,}",
        f"shape: {shape}",
        f"would write {out}: {form}, {whose}, {format_bytes(size)} of weights in {dtype}",
    ]


def _vocabulary(trained: "TrainedModel") -> "nn.GGUFVocabulary":
    tokenizer = trained.tokenizer
    return nn.GGUFVocabulary(
        vocab=tokenizer.vocab,
        merges=tokenizer.merges,
        special_tokens={special: tokenizer.encode(special)[0] for special in tokenizer.special_tokens},
        end_of_text=END_OF_TEXT,
        pattern=tokenizer.pattern,
    )


def _tokenizer_config(trained: "TrainedModel") -> str:
    """What transformers.AutoTokenizer wants to know beside tokenizer.json, which adds no token to a text."""
    content = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": trained.model.config.context_length,
        "clean_up_tokenization_spaces": False,
    }
    return json.dumps(content, indent=2) + "\n"
