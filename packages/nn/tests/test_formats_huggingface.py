"""Llama and Qwen3 written to disk: names, layout, and all that is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.nn.formats import load_huggingface, save_huggingface
from hornbook.nn.formats.architectures import to_halves, to_neighbours
from llama_models import LLAMA, QWEN3, SHAPES, random_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_a_model_comes_back_bit_for_bit(
    tmp_path: Path, config: TransformerConfig, dtype: torch.dtype
) -> None:
    model = random_model(config, dtype)
    save_huggingface(model, tmp_path / "out")
    loaded = load_huggingface(tmp_path / "out")
    assert loaded.config == config
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == dtype
        assert torch.equal(weight, model.state_dict()[name]), name
    token_ids = torch.randint(config.vocab_size, (2, config.context_length))
    assert torch.equal(loaded(token_ids), model(token_ids))


def test_names_and_shapes_are_those_of_llama(tmp_path: Path) -> None:
    save_huggingface(random_model(replace(QWEN3, num_layers=1)), tmp_path, eos_token_id=3)
    layer = "model.layers.0"
    assert {
        name: list(weight.shape) for name, weight in load_file(tmp_path / "model.safetensors").items()
    } == {
        "model.embed_tokens.weight": [13, 16],
        f"{layer}.input_layernorm.weight": [16],
        f"{layer}.self_attn.q_proj.weight": [16, 16],
        f"{layer}.self_attn.k_proj.weight": [8, 16],
        f"{layer}.self_attn.v_proj.weight": [8, 16],
        f"{layer}.self_attn.o_proj.weight": [16, 16],
        f"{layer}.self_attn.q_norm.weight": [4],
        f"{layer}.self_attn.k_norm.weight": [4],
        f"{layer}.post_attention_layernorm.weight": [16],
        f"{layer}.mlp.gate_proj.weight": [12, 16],
        f"{layer}.mlp.up_proj.weight": [12, 16],
        f"{layer}.mlp.down_proj.weight": [16, 12],
        "model.norm.weight": [16],
        "lm_head.weight": [13, 16],
    }
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors",
    }  # fmt: skip
    tokens = {"bos_token_id": None, "eos_token_id": 3, "pad_token_id": None}
    assert json.loads((tmp_path / "generation_config.json").read_text()) == tokens
    # transformers would take ids of its own for those that are not in the config.
    assert json.loads((tmp_path / "config.json").read_text()).items() >= tokens.items()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.sampled_from(["q_proj", "k_proj"]))
@settings(max_examples=30, deadline=None)
def test_a_pair_of_neighbours_becomes_a_pair_across_the_halves_of_its_head(
    kv_heads: int, group: int, pairs: int, name: str
) -> None:
    config = replace(
        LLAMA, num_heads=kv_heads * group, num_kv_heads=kv_heads, d_model=kv_heads * group * 2 * pairs
    )
    heads = kv_heads * group if name == "q_proj" else kv_heads
    rows = torch.arange(float(heads * 2 * pairs))
    moved = to_halves(f"layers.0.attn.{name}.weight", rows, config).tolist()
    for head in range(heads):
        for pair in range(pairs):
            begin = head * 2 * pairs
            assert moved[begin + pair] == begin + 2 * pair
            assert moved[begin + pairs + pair] == begin + 2 * pair + 1
    back = to_neighbours(f"layers.0.attn.{name}.weight", torch.tensor(moved), config)
    assert torch.equal(back, rows)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("norm", "post"),
        ("norm", "none"),
        ("position", "none"),
        ("ffn", "silu"),
        ("ffn", "relu2"),
        ("logit_softcap", 30.0),
        ("value_residual", True),
        ("embedding_shortcut", True),
    ],
)
def test_a_variant_that_no_architecture_has_is_refused_by_name(
    tmp_path: Path, field: str, value: object
) -> None:
    model = TransformerLM(replace(LLAMA, **{field: value}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{field} must be .* in this format, got {value!r}: neither Llama"):
        save_huggingface(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_llama_whose_heads_transformers_could_not_open_is_refused(tmp_path: Path) -> None:
    uneven = replace(LLAMA, d_model=18, head_dim=6)
    with pytest.raises(
        ValueError, match="d_model must be a multiple of num_heads, got 18 and 4: transformers"
    ):
        save_huggingface(random_model(uneven), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_huggingface(random_model(replace(uneven, qk_norm=True)), tmp_path / "out")  # Qwen3 may


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty: choose another directory, or empty it"):
        save_huggingface(TransformerLM(LLAMA), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("token_id", [True, 1.0, "1", [1]])
def test_a_token_id_that_is_no_int_is_refused(tmp_path: Path, token_id: object) -> None:
    with pytest.raises(TypeError, match=r"eos_token_id must be an int or None, got .* of type"):
        save_huggingface(TransformerLM(LLAMA), tmp_path / "out", eos_token_id=token_id)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("token_id", [-1, 13])
def test_a_token_id_that_the_model_lacks_is_refused(tmp_path: Path, token_id: int) -> None:
    with pytest.raises(ValueError, match=f"bos_token_id must be from 0 to 12, got {token_id}"):
        save_huggingface(TransformerLM(LLAMA), tmp_path, bos_token_id=token_id)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_save_that_is_cut_off_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    rename = Path.replace
    done: list[Path] = []

    def cut_off(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save_huggingface(TransformerLM(LLAMA), tmp_path)
    assert len(list(tmp_path.iterdir())) == renames
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_huggingface(tmp_path)
