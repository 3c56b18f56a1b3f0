"""hornbook.nn computes what transformers' Llama and Qwen3 compute, given the same weights, either way."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Module, RMSNorm

from hornbook.nn import GREEDY, RopeScaling, TransformerConfig, TransformerLM, generate
from hornbook.nn.formats import load_huggingface, save_huggingface

transformers = pytest.importorskip("transformers")

SMALL = TransformerConfig(vocab_size=50, context_length=16, num_layers=1, d_model=8, num_heads=1, d_ff=16)
DEEP = TransformerConfig(vocab_size=97, context_length=33, num_layers=3, d_model=48, num_heads=4, d_ff=56)
SHAPES = [
    SMALL,
    DEEP,
    replace(DEEP, d_model=40, num_heads=10, rope_theta=500.0),
    replace(DEEP, num_heads=2, norm_eps=1e-3, tied_embeddings=True),
    replace(DEEP, num_heads=6, num_kv_heads=2),
    replace(DEEP, num_heads=6, num_kv_heads=1, qk_norm=True),
    replace(DEEP, qk_norm=True, tied_embeddings=True, norm_eps=1e-6),
]


# In 16 tokens the six pairs of a head turn 2.5, 0.55, 0.12 … times: one is left alone, one is in between.
SCALED = RopeScaling(factor=8.0, original_context_length=16, low_freq_factor=0.2, high_freq_factor=2.0)


def exported(model: TransformerLM, directory: Path) -> Any:
    """The same model in transformers."""
    save_huggingface(model, directory / "exported")
    return transformers.AutoModelForCausalLM.from_pretrained(directory / "exported", dtype="auto").eval()


class ExactRotation(Module):
    """transformers' rotary tables without its float32."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        exponents = torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width
        self.frequencies = config.rope_theta**-exponents

    def forward(self, _: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids[..., None] * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def make_exact(peer: Any, config: TransformerConfig) -> None:
    """Replace what transformers computes in float32 in any model: its norms and rotary tables."""
    for module in list(peer.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ in ("LlamaRMSNorm", "Qwen3RMSNorm"):
                norm = RMSNorm(child.weight.numel(), config.norm_eps, dtype=torch.float64)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
    peer.model.rotary_emb = ExactRotation(config)


def random_model(config: TransformerConfig, dtype: torch.dtype) -> TransformerLM:
    torch.manual_seed(0)
    model = TransformerLM(config, dtype=dtype).requires_grad_(False)
    spread(model)
    return model


def spread(model: Module) -> None:
    """Draw the gains, too: gains of one would hide a norm in the wrong place."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 2)


@pytest.mark.parametrize(
    "config", [*SHAPES, *(replace(DEEP, rope_scaling=SCALED, qk_norm=qk_norm) for qk_norm in (False, True))]
)
def test_logits_are_those_of_transformers_in_float32(config: TransformerConfig, tmp_path: Path) -> None:
    model = random_model(config, torch.float32)
    token_ids = torch.randint(config.vocab_size, (3, config.context_length))
    expected = exported(model, tmp_path)(token_ids).logits.detach()
    assert expected.std() > 0.1
    torch.testing.assert_close(model(token_ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", SHAPES)
def test_logits_are_those_of_transformers_in_float64(config: TransformerConfig, tmp_path: Path) -> None:
    model = random_model(config, torch.float64)
    token_ids = torch.randint(config.vocab_size, (3, config.context_length))
    peer = exported(model, tmp_path)
    # transformers' norms and rotary tables are float32 in a float64 model, too: agreement ends at 1e-5.
    as_released = peer(token_ids).logits.detach()
    torch.testing.assert_close(model(token_ids), as_released.double(), rtol=1e-5, atol=1e-5)
    make_exact(peer, config)
    torch.testing.assert_close(model(token_ids), peer(token_ids).logits.detach(), rtol=1e-10, atol=1e-10)


def test_greedy_continuation_is_that_of_transformers(tmp_path: Path) -> None:
    model = random_model(DEEP, torch.float32)
    prompt = torch.randint(DEEP.vocab_size, (1, 5))
    continued = exported(model, tmp_path).generate(prompt, max_new_tokens=20, do_sample=False, pad_token_id=0)
    ids = generate(model, prompt[0].tolist(), max_tokens=20, sampling=GREEDY)
    assert ids == continued[0, 5:].tolist()


def random_peer(seed: int, name: str = "Llama") -> Any:
    """A Llama or Qwen3 of transformers, its shape and weights drawn.

    Two of three have GQA, half of them heads of a width of their own.
    """
    draw = random.Random(seed)
    kv_heads, group, head_dim = draw.randint(1, 4), 1 + seed % 3, 2 * draw.randint(1, 12)
    # transformers asks for a multiple of the heads even where it doesn't divide by them.
    hidden_size = kv_heads * group * (head_dim if seed % 2 else draw.randint(1, 24))
    theta = 10 ** draw.uniform(2, 6)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=draw.randint(10, 200),
        max_position_embeddings=draw.randint(8, 60),
        num_hidden_layers=draw.randint(1, 4),
        hidden_size=hidden_size,
        num_attention_heads=kv_heads * group,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=draw.randint(1, 100),
        rms_norm_eps=10 ** draw.uniform(-8, -3),
        rope_theta=theta,  # for transformers 4, and for 5
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=draw.random() < 0.3,
        # Logits of about 0.6 in any width: float32 alone moves them by 1e-6.
        initializer_range=0.5 * max(hidden_size, kv_heads * group * head_dim) ** -0.5,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(seed)
    peer = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    spread(peer)
    return peer


@pytest.mark.parametrize(
    ("name", "seed"), [*(("Llama", seed) for seed in range(20)), *(("Qwen3", seed) for seed in range(6))]
)
def test_a_model_of_transformers_opens_here(name: str, seed: int, tmp_path: Path) -> None:
    peer = random_peer(seed, name)
    # A shard takes as many tensors as fit: several files, but for the smallest models.
    peer.save_pretrained(tmp_path, max_shard_size="20KB" if seed % 2 else "5GB")
    model = load_huggingface(tmp_path)
    token_ids = torch.randint(model.config.vocab_size, (2, model.config.context_length))
    expected = peer(token_ids).logits.detach()
    assert expected.std() > 0.1
    torch.testing.assert_close(model(token_ids).detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Llama", "Qwen3"])
def test_a_model_whose_rotation_is_scaled_opens_here_and_goes_back(name: str, tmp_path: Path) -> None:
    rotation = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 0.2,
        "high_freq_factor": 2.0,
        "original_max_position_embeddings": 16,
    }
    shape = {"vocab_size": 97, "num_hidden_layers": 2, "hidden_size": 48, "intermediate_size": 56}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12}
    config = getattr(transformers, f"{name}Config")(
        **shape,
        **heads,
        max_position_embeddings=64,
        rope_theta=5e5,
        rope_parameters=rotation,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    peer = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    spread(peer)
    peer.save_pretrained(tmp_path)
    model = load_huggingface(tmp_path)
    assert model.config.rope_scaling == SCALED
    token_ids = torch.randint(97, (2, 64))
    expected = peer(token_ids).logits.detach()
    torch.testing.assert_close(model(token_ids).detach(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(exported(model, tmp_path)(token_ids).logits.detach(), expected)
    plain = TransformerLM(replace(model.config, rope_scaling=None))
    plain.load_state_dict(model.state_dict())
    assert (plain(token_ids) - expected).abs().max() > 1e-3


def test_both_ways_give_the_same_files_again(tmp_path: Path) -> None:
    peer = random_peer(2, "Qwen3")
    peer.save_pretrained(tmp_path / "theirs")
    again = exported(load_huggingface(tmp_path / "theirs"), tmp_path)
    assert peer.state_dict().keys() == again.state_dict().keys()
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, peer.state_dict()[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_of_transformers_opens_as_such(dtype: torch.dtype, tmp_path: Path) -> None:
    peer = random_peer(2).to(dtype)
    peer.save_pretrained(tmp_path)
    model = load_huggingface(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert torch.equal(model.token_embeddings.weight, peer.model.embed_tokens.weight)
    wide = load_huggingface(tmp_path, dtype=torch.float32)
    token_ids = torch.randint(model.config.vocab_size, (2, model.config.context_length))
    # Not peer.float(): its rotary frequencies were rounded when it was made half.
    wide_peer = type(peer).from_pretrained(tmp_path, dtype=torch.float32)
    expected = wide_peer(token_ids).logits.detach()
    torch.testing.assert_close(wide(token_ids).detach(), expected, rtol=1e-5, atol=1e-5)


def test_rows_in_another_order_would_be_noticed(tmp_path: Path) -> None:
    """Agreement would prove little if a wrong layout of the heads gave nearly the same logits."""
    peer = random_peer(1)
    peer.save_pretrained(tmp_path)
    model = load_huggingface(tmp_path).requires_grad_(False)
    for layer in range(model.config.num_layers):
        for name in ("q_proj", "k_proj"):
            as_it_is = peer.model.layers[layer].self_attn.get_parameter(f"{name}.weight")
            model.get_parameter(f"layers.{layer}.attn.{name}.weight").copy_(as_it_is)
    token_ids = torch.randint(model.config.vocab_size, (2, model.config.context_length))
    assert (model(token_ids) - peer(token_ids).logits).abs().max() > 0.01


LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
REFUSED = [
    ("Llama", {"rope_parameters": LINEAR}, r"rope_parameters\.rope_type must be .*, got 'linear'"),
    ("Llama", {"attention_bias": True}, "attention_bias must be False, got True"),
    ("Llama", {"mlp_bias": True}, "mlp_bias must be False, got True"),
    ("Llama", {"hidden_act": "gelu"}, "hidden_act must be 'silu', got 'gelu'"),
    ("Qwen3", {"use_sliding_window": True}, "use_sliding_window must be False, got True"),
    ("Mistral", {}, "model_type must be 'llama' or 'qwen3', got 'mistral'"),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_what_transformers_computes_otherwise_is_refused_as_it_writes_it(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    shape = {"vocab_size": 20, "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    config = getattr(transformers, f"{name}Config")(**{**shape, **heads, **changes})
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_huggingface(tmp_path)
