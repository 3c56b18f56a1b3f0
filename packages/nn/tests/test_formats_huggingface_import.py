"""Models of Hugging Face read here: what is not computed here or not whole is refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hornbook.nn import RopeScaling, TransformerConfig, TransformerLM
from hornbook.nn.formats import huggingface as form
from hornbook.nn.formats import load_huggingface, save_huggingface
from llama_models import LLAMA, QWEN3, SHAPES, random_model

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.fixture(params=["llama", "qwen3"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, TransformerLM]:
    model = random_model(SHAPES[request.param])
    save_huggingface(model, tmp_path / "saved")
    return tmp_path / "saved", model


def edit(path: Path, **changes: object) -> None:
    """Change config.json; None takes a field out, "null" stands for null."""
    content = json.loads((path / "config.json").read_text())
    for name, value in changes.items():
        if value is None:
            del content[name]
        else:
            content[name] = None if value == "null" else value
    (path / "config.json").write_text(json.dumps(content))


def edit_weights(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors")


def weights_equal(one: TransformerLM, other: TransformerLM) -> bool:
    return all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


def test_both_forms_of_the_rotation_are_read(saved: tuple[Path, TransformerLM]) -> None:
    path, _ = saved
    edit(path, rope_theta=500.0, rope_parameters=None)
    assert load_huggingface(path).config.rope_theta == 500.0
    edit(path, rope_scaling={"type": "default"})
    assert load_huggingface(path).config.rope_theta == 500.0
    edit(
        path,
        rope_theta=None,
        rope_scaling="null",
        rope_parameters={"rope_theta": 7e5, "rope_type": "default"},
    )
    assert load_huggingface(path).config.rope_theta == 7e5
    edit(path, rope_scaling=LLAMA3)
    scaling = load_huggingface(path).config.rope_scaling
    assert scaling == RopeScaling(factor=8.0, original_context_length=16)
    edit(path, rope_parameters={**LLAMA3, "factor": 2.0, "rope_theta": 7e5})
    with pytest.raises(ValueError, match=r"the scaling of the rotation is given as .* must be the same"):
        load_huggingface(path)
    edit(path, rope_parameters=None, rope_scaling="null")
    assert load_huggingface(path).config.rope_theta == 10_000.0  # that of the first Llama, which says nothing
    edit(path, rope_theta=1.0, rope_parameters={"rope_theta": 2.0})
    with pytest.raises(ValueError, match=r"given as {'rope_parameters.rope_theta': 2.0, 'rope_theta': 1.0}"):
        load_huggingface(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "rope_scaling",
            {"factor": 8.0, "type": "llama3"},
            r"rope_scaling\.original_max_position_embeddings is missing",
        ),
        (
            "rope_scaling",
            {**LLAMA3, "low_freq_factor": 4.0},
            r"rope_scaling\.high_freq_factor must be more than low_freq_factor, got 4\.0 and 4\.0",
        ),
        ("rope_scaling", {**LLAMA3, "attention_factor": 2.0}, r"rope_scaling\.attention_factor must be null"),
        ("rope_scaling", {"type": "yarn"}, r"type must be 'default' or 'llama3' or null, got 'yarn'"),
        ("rope_scaling", "linear", r"rope_scaling must be a JSON object or null, got 'linear'"),
        ("rope_parameters", {"rope_type": "linear"}, r"rope_parameters\.rope_type must be .*, got 'linear'"),
        ("rope_parameters", {"partial_rotary_factor": 0.5}, r"factor must be 1\.0 or null, got 0\.5"),
        ("rope_parameters", {"full_attention": {}}, r"rope_parameters\.full_attention must be null"),
        ("partial_rotary_factor", 0.25, r"partial_rotary_factor must be 1\.0 or null, got 0\.25"),
        ("attention_bias", True, "attention_bias must be False, got True: no such model can be built here"),
        ("attention_bias", 0, "attention_bias must be False, got 0"),
        ("hidden_act", "gelu", "hidden_act must be 'silu', got 'gelu'"),
        ("head_dim", 3, "head_dim must be even for rotary positions, which rotate pairs; got 3"),
        ("head_dim", 2**30, "head_width must be at most 16777216, got 1073741824"),
        (
            "layer_types",
            ["full_attention", "sliding_attention"],
            r"layer_types\[1\] must be 'full_attention'",
        ),
        ("quantization_config", {"bits": 4}, r"quantization_config must be null, got \{'bits': 4\}"),
        ("model_type", "mistral", "model_type must be 'llama' or 'qwen3', got 'mistral'"),
        ("architectures", ["LlamaModel"], r"architectures must be \['.*ForCausalLM'\], got \['LlamaModel'\]"),
        ("num_attention_heads", None, "num_attention_heads is missing"),
        ("num_hidden_layers", 2**40, "num_layers must be at most 16777216, got 1099511627776"),
        ("intermediate_size", 0, "d_ff must be positive, got 0"),
    ],
)
def test_what_is_not_computed_here_is_refused_by_name_and_value(
    saved: tuple[Path, TransformerLM], name: str, value: object, message: str
) -> None:
    path, _ = saved
    edit(path, **{name: value})
    with pytest.raises(ValueError, match=message) as error:
        load_huggingface(path)
    assert str(error.value).startswith(str(path / "config.json"))


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (LLAMA, "mlp_bias", True),
        (LLAMA, "sliding_window", 4096),
        (QWEN3, "use_sliding_window", True),
        (QWEN3, "attention_bias", True),
    ],
)
def test_each_architecture_has_its_own_fields(
    tmp_path: Path, config: TransformerConfig, name: str, value: object
) -> None:
    save_huggingface(TransformerLM(config), tmp_path)
    edit(tmp_path, **{name: value})
    with pytest.raises(ValueError, match=f"{name} must be (False|null), got {value}"):
        load_huggingface(tmp_path)


def test_a_window_that_is_switched_off_is_none(tmp_path: Path) -> None:
    save_huggingface(TransformerLM(QWEN3), tmp_path)
    edit(tmp_path, sliding_window=4096, max_window_layers=1)
    assert load_huggingface(tmp_path).config == QWEN3


@pytest.mark.parametrize("name", ["num_key_value_heads", "head_dim"])
def test_qwen3_says_what_llama_may_leave_out(tmp_path: Path, name: str) -> None:
    save_huggingface(TransformerLM(replace(LLAMA, num_kv_heads=None)), tmp_path / "llama")
    edit(tmp_path / "llama", **{name: None})
    assert load_huggingface(tmp_path / "llama").config.kv_heads == 4
    save_huggingface(TransformerLM(QWEN3), tmp_path / "qwen3")
    edit(tmp_path / "qwen3", **{name: None})
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load_huggingface(tmp_path / "qwen3")


def test_another_model_is_refused_before_anything_is_made(
    saved: tuple[Path, TransformerLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = saved

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(form, "model_from", fail)
    edit(path, intermediate_size=2**20)
    with pytest.raises(ValueError, match=r"mlp\.gate_proj\.weight has shape \[12, 16\], .* \[1048576, 16\]"):
        load_huggingface(path)
    edit(path, intermediate_size=12, num_hidden_layers=2**20)
    with pytest.raises(ValueError, match=r"no tensor model\.layers\.2\.input_layernorm\.weight"):
        load_huggingface(path)
    edit(path, num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"model\.layers\.1\..* has no place in the model"):
        load_huggingface(path)


def shard(path: Path) -> dict[str, str]:
    """Write the weights as two files and an index; return its map."""
    weights = load_file(path / "model.safetensors")
    names = sorted(weights)
    files = {name: f"model-0000{1 + (name > names[3])}-of-00002.safetensors" for name in names}
    for file in set(files.values()):
        save_file({name: weights[name] for name in names if files[name] == file}, path / file)
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return files


def test_shards_are_read_together(saved: tuple[Path, TransformerLM]) -> None:
    path, model = saved
    shard(path)
    assert weights_equal(load_huggingface(path), model)
    (path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"00002-of-00002\.safetensors is missing, which model\.saf"):
        load_huggingface(path)


@pytest.mark.parametrize(
    "file", ["../other.safetensors", "/etc/x.safetensors", "a/b.safetensors", "x.bin", 3, ".."]
)
def test_an_index_names_no_file_elsewhere(saved: tuple[Path, TransformerLM], file: object) -> None:
    path, _ = saved
    files: dict[str, object] = dict(shard(path))
    files["lm_head.weight"] = file
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    with pytest.raises(ValueError, match="weight_map must name safetensors files beside it, got"):
        load_huggingface(path)


def test_a_tensor_in_two_shards_is_refused(saved: tuple[Path, TransformerLM]) -> None:
    path, _ = saved
    shard(path)
    shards = sorted(path.glob("model-*"))
    save_file(load_file(shards[0]) | load_file(shards[1]), shards[1])
    with pytest.raises(ValueError, match=r"is both in .*00001-of-00002\.safetensors and in .*00002-of-00002"):
        load_huggingface(path)


def test_an_index_without_a_map_is_refused(saved: tuple[Path, TransformerLM]) -> None:
    path, _ = saved
    shard(path)
    (path / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(ValueError, match=r"weight_map must map names to files, got \[\]"):
        load_huggingface(path)


def test_a_pickle_is_not_read(saved: tuple[Path, TransformerLM]) -> None:
    path, _ = saved
    (path / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"has neither model\.safetensors nor model\.safetensors\.index"
    ):
        load_huggingface(path)
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(
        ValueError, match=r"pytorch_model\.bin is a pickle, .*: let transformers write safetens"
    ):
        load_huggingface(path)


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path: Path) -> None:
    model = random_model(replace(LLAMA, tied_embeddings=True))
    save_huggingface(model, tmp_path)
    embedding = "model.embed_tokens.weight"
    edit_weights(tmp_path, lambda weights: weights.update({"lm_head.weight": weights[embedding].clone()}))
    assert weights_equal(load_huggingface(tmp_path), model)
    edit_weights(tmp_path, lambda weights: weights["lm_head.weight"].add_(1))
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight, but"):
        load_huggingface(tmp_path)


def test_tables_that_transformers_once_stored_are_passed_over(saved: tuple[Path, TransformerLM]) -> None:
    path, model = saved
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    edit_weights(path, lambda weights: weights.update(table))
    assert weights_equal(load_huggingface(path), model)


def test_weights_of_several_dtypes_need_a_choice(saved: tuple[Path, TransformerLM]) -> None:
    path, model = saved
    edit_weights(
        path, lambda weights: weights.update({"model.norm.weight": weights["model.norm.weight"].double()})
    )
    with pytest.raises(ValueError, match=r"is torch\.float.*, .* is torch\.float.*: say which dtype"):
        load_huggingface(path)
    assert weights_equal(load_huggingface(path, dtype=torch.float32), model)


def test_weights_that_are_not_finite_are_refused_by_their_name_in_the_file(
    saved: tuple[Path, TransformerLM],
) -> None:
    path, _ = saved
    edit_weights(path, lambda weights: weights["model.layers.1.mlp.up_proj.weight"][2].fill_(float("inf")))
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj\.weight\[2, 0\] is inf"):
        load_huggingface(path)


def test_code_beside_a_model_is_not_run(saved: tuple[Path, TransformerLM]) -> None:
    path, model = saved
    (path / "modeling_custom.py").write_text("raise SystemExit('run')")
    edit(path, auto_map={"AutoModelForCausalLM": "modeling_custom.Model"})
    assert weights_equal(load_huggingface(path), model)
