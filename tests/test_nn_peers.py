"""hornbook.nn computes what transformers' Llama computes, given the same weights."""

from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import Module, RMSNorm

from hornbook.nn import TransformerConfig, TransformerLM, generate

transformers = pytest.importorskip("transformers")

SHAPES = [
    TransformerConfig(vocab_size=50, context_length=16, num_layers=1, d_model=8, num_heads=1, d_ff=16),
    TransformerConfig(vocab_size=97, context_length=33, num_layers=3, d_model=48, num_heads=4, d_ff=56),
    TransformerConfig(
        vocab_size=128, context_length=20, num_layers=2, d_model=40, num_heads=10, d_ff=72, rope_theta=500.0
    ),
    TransformerConfig(
        vocab_size=64,
        context_length=24,
        num_layers=2,
        d_model=32,
        num_heads=2,
        d_ff=64,
        norm_eps=1e-3,
        tied_embeddings=True,
    ),
]
NAMES = {
    "token_embeddings": "model.embed_tokens",
    "ln_final": "model.norm",
    "lm_head": "lm_head",
    "layers": "model.layers",
    "ln1": "input_layernorm",
    "ln2": "post_attention_layernorm",
    "attn": "self_attn",
    "output_proj": "o_proj",
    "ffn": "mlp",
    "w1": "gate_proj",
    "w2": "down_proj",
    "w3": "up_proj",
}


def llama_weights(model: TransformerLM) -> dict[str, Tensor]:
    """Rename, and move each head's rows: pairs are neighbours here and halves of the head there."""
    weights = {}
    for name, weight in model.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = model.config.num_heads
            weight = rearrange(weight, "(heads pairs two) d -> (heads two pairs) d", heads=heads, two=2)
        weights[".".join(NAMES.get(part, part) for part in name.split("."))] = weight
    return weights


def llama_of(model: TransformerLM) -> Any:
    config = model.config
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            max_position_embeddings=config.context_length,
            num_hidden_layers=config.num_layers,
            hidden_size=config.d_model,
            num_attention_heads=config.num_heads,
            intermediate_size=config.d_ff,
            rms_norm_eps=config.norm_eps,
            rope_theta=config.rope_theta,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tied_embeddings,
        )
    )
    llama = llama.to(model.lm_head.weight.dtype).eval()
    llama.load_state_dict(llama_weights(model), strict=True)
    return llama


class ExactRotation(Module):
    """transformers' rotary tables without its float32."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
        self.frequencies = config.rope_theta**-exponents

    def forward(self, _: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids[..., None] * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def make_exact(llama: Any, config: TransformerConfig) -> None:
    """Replace what transformers computes in float32 in any model: its norms and rotary tables."""
    for module in list(llama.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "LlamaRMSNorm":
                norm = RMSNorm(config.d_model, config.norm_eps, dtype=torch.float64)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
    llama.model.rotary_emb = ExactRotation(config)


def random_model(config: TransformerConfig, dtype: torch.dtype) -> TransformerLM:
    torch.manual_seed(0)
    model = TransformerLM(config, dtype=dtype).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "ln" in name:  # gains of one would hide a norm in the wrong place
            parameter.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize("config", SHAPES)
def test_logits_are_llamas_in_float32(config: TransformerConfig) -> None:
    model = random_model(config, torch.float32)
    token_ids = torch.randint(config.vocab_size, (3, config.context_length))
    expected = llama_of(model)(token_ids).logits.detach()
    assert expected.std() > 0.1
    torch.testing.assert_close(model(token_ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", SHAPES)
def test_logits_are_llamas_in_float64(config: TransformerConfig) -> None:
    model = random_model(config, torch.float64)
    token_ids = torch.randint(config.vocab_size, (3, config.context_length))
    llama = llama_of(model)
    # transformers' norms and rotary tables are float32 in a float64 model, too: agreement ends at 1e-5.
    as_released = llama(token_ids).logits.detach()
    torch.testing.assert_close(model(token_ids), as_released.double(), rtol=1e-5, atol=1e-5)
    make_exact(llama, config)
    torch.testing.assert_close(model(token_ids), llama(token_ids).logits.detach(), rtol=1e-10, atol=1e-10)


def test_greedy_continuation_is_llamas() -> None:
    config = SHAPES[1]
    model = random_model(config, torch.float32)
    prompt = torch.randint(config.vocab_size, (1, 5))
    continued = llama_of(model).generate(
        prompt, max_new_tokens=20, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    ids = generate(model, prompt[0].tolist(), max_tokens=20, temperature=0.0)
    assert ids == continued[0, 5:].tolist()
