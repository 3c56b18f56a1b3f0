import math
import re
from dataclasses import replace

import torch

from hornbook.nn import TransformerConfig, TransformerLM

CONFIG = TransformerConfig(
    vocab_size=400,
    context_length=8,
    num_layers=2,
    d_model=96,
    num_heads=4,
    num_kv_heads=2,
    d_ff=256,
    qk_norm=True,
    value_residual=True,
    embedding_shortcut=True,
)
# The part of a name before "weight" tells the rule, as the docstring of TransformerLM has it.
CONSTANTS = {
    **{norm: [1.0] for norm in ("ln1", "ln2", "ln_final", "q_norm", "k_norm")},
    "value_residual": [0.5, 0.5],
    "embedding_shortcut": [1.0, 0.0],
}


def test_every_tensor_begins_as_stated() -> None:
    for name, parameter in TransformerLM(CONFIG).named_parameters():
        part = name.split(".")[-2]
        if part in CONSTANTS:
            expected = torch.tensor(CONSTANTS[part])
            assert torch.equal(parameter.data, expected.expand_as(parameter)), name
            continue
        std = 1.0 if part == "token_embeddings" else math.sqrt(2 / sum(parameter.shape))
        assert parameter.abs().max() <= 3 * std, name
        assert parameter.abs().max() > 2.8 * std, name
        # The cut takes 1.34 % off; the estimate errs by 0.7 % / sqrt(numbers / 10^4), here below 1 %.
        assert abs(parameter.std() / (0.98658 * std) - 1) < 0.03, name
        assert abs(parameter.mean()) < 0.03 * std, name


def test_zero_initialised_outputs_make_every_block_the_identity() -> None:
    model = TransformerLM(replace(CONFIG, zero_init_outputs=True))
    zero = {name for name, parameter in model.named_parameters() if parameter.eq(0).all()}
    assert zero == {f"layers.{i}.{part}.weight" for i in (0, 1) for part in ("attn.output_proj", "ffn.w2")}
    x = torch.randn(2, 8, 96)
    assert torch.equal(model.layers[0](x), x)
    # Gradients still reach what is zero, so that it leaves it.
    model(torch.randint(400, (2, 8))).square().mean().backward()
    for name in zero:
        gradient = model.get_parameter(name).grad
        assert gradient is not None and gradient.abs().max() > 0


def test_a_switch_moves_no_other_tensors_first_values() -> None:
    """An ablation begins where its baseline does."""

    def first_values(config: TransformerConfig) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return TransformerLM(config).state_dict()

    full = first_values(CONFIG)
    plain = first_values(replace(CONFIG, qk_norm=False, value_residual=False, embedding_shortcut=False))
    assert len(plain) < len(full)
    assert all(torch.equal(full[name], plain[name]) for name in plain)
    zeroed = first_values(replace(CONFIG, zero_init_outputs=True))
    same = [name for name in full if not re.search(r"output_proj|w2", name)]
    assert all(torch.equal(full[name], zeroed[name]) for name in same)
