"""The config.json of transformers, for Llama and Qwen3, both ways.

What would make transformers compute something else than hornbook can is refused by name and value; other
fields, such as those for training or for tools, are none of a model's shape and are passed over.
"""

from dataclasses import replace
from typing import Any

import torch

from ..config import TransformerConfig
from ..rope_scaling import RopeScaling
from .architectures import Architecture, architecture_of
from .files import Json

_CLASS = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "num_layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "num_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
}
_SCALING = {
    "factor": "factor",
    "original_context_length": "original_max_position_embeddings",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
}
# Under these values transformers computes what is computed here.
_FIXED: dict[Architecture, Json] = {
    "llama": {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    "qwen3": {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
}
# These are not even written.
_ABSENT: dict[Architecture, tuple[str, ...]] = {
    "llama": ("quantization_config", "sliding_window"),
    "qwen3": ("quantization_config",),  # use_sliding_window switches its sliding_window off
}


def dump_config(config: TransformerConfig, dtype: torch.dtype, tokens: Json) -> Json:
    """Describe a model to transformers, version 4 and 5.

    Args:
        config: The shape.
        dtype: Of the weights.
        tokens: bos_token_id and the like; transformers has defaults of its own for those not given.

    Raises:
        ValueError: If no architecture of transformers computes it.
    """
    architecture = architecture_of(config)
    if architecture == "llama" and config.d_model % config.num_heads:
        msg = (
            f"d_model must be a multiple of num_heads, got {config.d_model} and {config.num_heads}:"
            " transformers opens no other Llama, though head_dim is given; save_model keeps it as it is"
        )
        raise ValueError(msg)
    # Version 5 reads `dtype` and `rope_parameters`, version 4 `torch_dtype` and `rope_theta`.
    name = str(dtype).removeprefix("torch.")
    return {
        "architectures": [_CLASS[architecture]],
        "model_type": architecture,
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        **_FIXED[architecture],
        "attention_dropout": 0.0,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        **_dump_rotation(config),
        "tie_word_embeddings": config.tied_embeddings,
        "dtype": name,
        "torch_dtype": name,
        **tokens,
    }


def read_config(content: Json) -> TransformerConfig:
    """Make a config of a description by transformers.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If it describes what hornbook does not compute; the field and its value are named.
    """
    architecture = _architecture(content)
    for field, value in _FIXED[architecture].items():
        _check(field, content.get(field, value), value)
    for field in _ABSENT[architecture]:
        _check(field, content.get(field), None)
    for layer, kind in enumerate(content.get("layer_types") or ()):
        _check(f"layer_types[{layer}]", kind, "full_attention")
    sizes = {ours: _needed(content, theirs) for ours, theirs in _SIZES.items()}
    # What is missing has the value that transformers takes then; those of Qwen3 are those of one model.
    qwen3 = architecture == "qwen3"
    kv_heads = _needed(content, "num_key_value_heads") if qwen3 else content.get("num_key_value_heads")
    head_dim = _needed(content, "head_dim") if qwen3 else content.get("head_dim")
    config = TransformerConfig(
        **sizes,
        num_kv_heads=None if kv_heads == sizes["num_heads"] else kv_heads,
        head_dim=head_dim,
        **_rotation(content),
        norm_eps=content.get("rms_norm_eps", 1e-6),
        tied_embeddings=content.get("tie_word_embeddings", False),
        qk_norm=qwen3,
    )
    if config.num_heads * config.head_width == config.d_model:
        return replace(config, head_dim=None)  # it says no more; so what was exported comes back as it was
    return config


def _architecture(content: Json) -> Architecture:
    _check("model_type", content.get("model_type"), *_CLASS)
    architecture: Architecture = content["model_type"]
    if content.get("architectures") is not None:  # a list of one
        _check("architectures", content["architectures"], [_CLASS[architecture]])
    return architecture


def _dump_rotation(config: TransformerConfig) -> Json:
    base = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_scaling is None:
        return {"rope_parameters": base}
    scaled = {theirs: getattr(config.rope_scaling, ours) for ours, theirs in _SCALING.items()}
    parameters = {**base, "rope_type": "llama3", **scaled}
    return {"rope_parameters": parameters, "rope_scaling": parameters}


def _rotation(content: Json) -> Json:
    """Return base and scaling as version 4 gives them, rope_theta and rope_scaling, or 5, rope_parameters."""
    thetas, scalings = {}, {}
    for field in ("rope_parameters", "rope_scaling"):
        parameters = content.get(field)
        if parameters is None:
            continue
        if not isinstance(parameters, dict):
            msg = f"{field} must be a JSON object or null, got {parameters!r}"
            raise TypeError(msg)
        for name in ("rope_type", "type"):  # first: what kind of scaling it is says more than its numbers
            _check(f"{field}.{name}", parameters.get(name), "default", "llama3", None)
        scaled = "llama3" in (parameters.get("rope_type"), parameters.get("type"))
        if scaled:
            values = {ours: _needed(parameters, theirs, field) for ours, theirs in _SCALING.items()}
            scalings[field] = RopeScaling(**values)
        for name, value in parameters.items():
            if name == "rope_theta":
                thetas[f"{field}.rope_theta"] = value
            elif name == "partial_rotary_factor":
                _check(f"{field}.{name}", value, 1.0, None)
            elif name not in ("rope_type", "type") and not (scaled and name in _SCALING.values()):
                _check(f"{field}.{name}", value, None)
    _check("partial_rotary_factor", content.get("partial_rotary_factor"), 1.0, None)
    if content.get("rope_theta") is not None:
        thetas["rope_theta"] = content["rope_theta"]
    if len(set(thetas.values())) > 1:
        msg = f"the base of the rotation is given as {thetas}: these must be the same"
        raise ValueError(msg)
    if len(set(scalings.values())) > 1:
        msg = f"the scaling of the rotation is given as {scalings}: these must be the same"
        raise ValueError(msg)
    return {
        "rope_theta": next(iter(thetas.values()), 10_000.0),
        "rope_scaling": next(iter(scalings.values()), None),
    }


def _check(field: str, value: object, *allowed: object) -> None:
    """Refuse what would make transformers compute something else; True is not 1."""
    if not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in allowed):
        rule = " or ".join("null" if other is None else repr(other) for other in allowed)
        msg = f"{field} must be {rule}, got {value!r}: no such model can be built here"
        raise ValueError(msg)


def _needed(content: Json, field: str, where: str = "") -> Any:
    if field not in content:
        msg = f"{where}{'.' if where else ''}{field} is missing"
        raise ValueError(msg)
    return content[field]
