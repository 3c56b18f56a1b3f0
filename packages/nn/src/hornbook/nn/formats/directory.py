"""Hornbook's own form: a directory of config.json and model.safetensors.

    config.json          format, version, dtype, size and SHA-256 of the weights, every field of the config
    model.safetensors    the weights under the names of the state dict, tied ones once

Safetensors checks its header, not its values. The digest in config.json finds a flipped bit, and weights of
one model beside the config of another.

The rename of config.json is the moment at which a save has happened. Until then the weights of the model
before have another name, under which they are found by what config.json says of them: a crash at any moment
leaves the old model or the new one.
"""

import os
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch

from ..config import TransformerConfig
from ..rope_scaling import RopeScaling
from ..transformer import TransformerLM
from .files import Json, read_json, sha256_of_file, write_json, written_aside
from .tensors import DTYPES, check_tensors, common_dtype, open_tensors, write_tensors
from .weights import check_dtype, check_sizes, model_from, weight_shapes, weights_of

_FORMAT, _VERSION = "hornbook.nn", 1
_CONFIG, _WEIGHTS, _REPLACED = "config.json", "model.safetensors", ".replaced-model.safetensors"
_FIELDS = {"format", "version", "dtype", "weights", "config"}
_NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in DTYPES.values()}


def save_model(
    model: TransformerLM, directory: str | os.PathLike[str], *, dtype: torch.dtype | None = None
) -> None:
    """Write a model's config and weights, to be read by `load_model`.

    A directory that is there is kept, with what else is in it; an older model in it is replaced. Both files
    are written aside and synced, then renamed: after a crash `load_model` finds the old model or the new one.

    Args:
        model: The model, not the compiled form of it, with weights of one dtype; it stays as it is.
        directory: Where to write; made if it is not there.
        dtype: Of the weights in the file; None: that of the model.

    Raises:
        TypeError: If it is no TransformerLM.
        ValueError: If a weight is NaN, infinite or too large for the dtype, or the weights have several
            dtypes.
        OSError: If the disk is full or can't be written.

    Example:
        >>> import tempfile
        >>> model = TransformerLM(
        ...     TransformerConfig(
        ...         vocab_size=100, context_length=16, num_layers=2, d_model=32, num_heads=4, d_ff=96
        ...     )
        ... )
        >>> directory = tempfile.mkdtemp()
        >>> save_model(model, directory)
        >>> load_model(directory).config == model.config
        True
    """
    weights = weights_of(model, dtype)
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    with written_aside(path / _WEIGHTS, path / _CONFIG) as (weights_file, config_file):
        write_tensors(weights_file, weights)
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "dtype": _NAMES[next(iter(weights.values())).dtype],
            "weights": {"bytes": weights_file.stat().st_size, "sha256": sha256_of_file(weights_file)},
            "config": asdict(model.config),
        }
        write_json(config_file, content)
        _put_aside(path)
    (path / _REPLACED).unlink(missing_ok=True)


def _put_aside(path: Path) -> None:
    """Give the weights that config.json was written for, if there are such, the name of what is replaced."""
    try:
        found = _weights_file(path, read_json(path / _CONFIG)["weights"])
    except (OSError, ValueError, LookupError, TypeError):
        return  # no sound model is there
    found.replace(path / _REPLACED)


def load_model(
    directory: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """Read what `save_model` wrote.

    Names, shapes and dtype of all weights are compared with the config before anything is allocated.

    Args:
        directory: The directory.
        device: Where the model is made; None is torch's default device.
        dtype: Of its weights; None is the dtype they were saved in.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, of a later version or of another model, or a weight is NaN or
            infinite. The message names file, value and rule.
    """
    check_dtype(dtype)
    path = Path(directory)
    content = read_json(path / _CONFIG)
    try:
        config, recorded = _read_config(content)
    except (TypeError, ValueError) as error:
        msg = f"{path / _CONFIG}: {error}"
        raise ValueError(msg) from None
    weights = path / _WEIGHTS
    if (path / _REPLACED).exists():  # a save was cut off
        weights = _weights_file(path, content["weights"])
    _check_size(weights, content["weights"]["bytes"])
    with open_tensors(weights) as found:
        check_tensors(weight_shapes(config), found, weights)
        if (stored := common_dtype(found)) != recorded:
            msg = f"{weights} holds {_NAMES[stored]}, config.json says {_NAMES[recorded]}"
            raise ValueError(msg)
        if sha256_of_file(weights) != content["weights"]["sha256"]:
            msg = (
                f"{weights} is not the file that config.json was written for, its SHA-256 differs: it has"
                " changed since, or is of another model; save the model again"
            )
            raise ValueError(msg)
        return model_from(
            config, lambda name, wanted: found[name].read(wanted), device=device, dtype=dtype or recorded
        )


def _weights_file(path: Path, described: Json) -> Path:
    """Return the file that config.json was written for, or where it would be."""
    for file in (path / _REPLACED, path / _WEIGHTS):
        if (
            file.is_file()
            and file.stat().st_size == described["bytes"]
            and sha256_of_file(file) == described["sha256"]
        ):
            return file
    return path / _WEIGHTS


def _read_config(content: Json) -> tuple[TransformerConfig, torch.dtype]:
    """Check everything that config.json says."""
    if content.get("format") != _FORMAT:
        msg = (
            f"format must be {_FORMAT!r}, got {content.get('format')!r}: this is no directory of save_model;"
            " load_huggingface reads a config.json of transformers"
        )
        raise ValueError(msg)
    if content.get("version") != _VERSION:
        msg = f"version must be {_VERSION}, got {content.get('version')!r}: a later hornbook wrote it, update"
        raise ValueError(msg)
    _check_names("", content, known=_FIELDS, needed=_FIELDS)
    weights = content["weights"]
    if not isinstance(weights, dict) or type(weights.get("bytes")) is not int:
        msg = f"weights must hold bytes, an int, and sha256, got {weights!r}"
        raise ValueError(msg)
    _check_names("weights.", weights, known={"bytes", "sha256"}, needed={"bytes", "sha256"})
    dtypes = {name: dtype for dtype, name in _NAMES.items()}
    if content["dtype"] not in dtypes:
        msg = f"dtype must be one of {', '.join(dtypes)}, got {content['dtype']!r}"
        raise ValueError(msg)
    return _config_from(content["config"]), dtypes[content["dtype"]]


def _config_from(values: Any) -> TransformerConfig:
    """Make a config of what a file says; a field that was added since it was written has its default.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a field is unknown or missing, or a value is impossible.
    """
    if not isinstance(values, dict):
        msg = f"config must be a JSON object, got {values!r}"
        raise TypeError(msg)
    _check_fields("config.", values, TransformerConfig)
    if isinstance(scaling := values.get("rope_scaling"), dict):
        _check_fields("config.rope_scaling.", scaling, RopeScaling)
    config = TransformerConfig.from_fields(values)
    check_sizes(config)
    return config


def _check_fields(where: str, values: Json, kind: type[TransformerConfig | RopeScaling]) -> None:
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    _check_names(where, values, known=known, needed=needed)


def _check_names(where: str, values: Json, *, known: set[str], needed: set[str]) -> None:
    for name in values:
        if name not in known:
            msg = f"{where}{name} is unknown, got {values[name]!r}: if a later hornbook wrote it, update"
            raise ValueError(msg)
    for name in sorted(needed):
        if name not in values:
            msg = f"{where}{name} is missing"
            raise ValueError(msg)


def _check_size(path: Path, num_bytes: int) -> None:
    if not path.is_file():
        msg = f"{path} is missing: copy it from where the model was saved"
        raise FileNotFoundError(msg)
    if path.stat().st_size != num_bytes:
        msg = (
            f"{path} has {path.stat().st_size} bytes, config.json says {num_bytes}: it was cut off, or is of"
            " another model; copy or save both again"
        )
        raise ValueError(msg)
