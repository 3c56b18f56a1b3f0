import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.nn import (
    CausalSelfAttention,
    SwiGLU,
    TransformerBlock,
    TransformerConfig,
    TransformerLM,
    cross_entropy,
)
from hornbook.nn.norm import Identity
from reference_lm import CONFIG, VARIANTS, configs, parameter_names, reference_logits

every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())


def random_model(config: TransformerConfig) -> TransformerLM:
    """Every parameter drawn: gains of one would hide which norm is used where, zeros would hide a part."""
    model = TransformerLM(config, dtype=torch.float64)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 2)
        else:
            torch.nn.init.xavier_normal_(parameter)
    return model


@every_variant
def test_every_variant_is_its_formula_in_torchs_terms(config: TransformerConfig) -> None:
    model = random_model(config)
    token_ids = torch.randint(50, (3, 6))
    expected = reference_logits(config, dict(model.state_dict(keep_vars=True)), token_ids)
    logits = model(token_ids)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(logits)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad((logits * direction).sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad((expected * direction).sum(), parameters, allow_unused=True)
    torch.testing.assert_close(gradients, theirs, rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=60)
@given(config=configs(), data=st.data())
def test_any_config_is_its_formula_in_torchs_terms(config: TransformerConfig, data: st.DataObject) -> None:
    model = random_model(config)
    token_ids = torch.randint(config.vocab_size, (2, data.draw(st.integers(1, config.context_length))))
    assert set(model.state_dict()) == parameter_names(config)
    torch.testing.assert_close(
        model(token_ids),
        reference_logits(config, model.state_dict(), token_ids),
        rtol=1e-11,
        atol=1e-11,
    )


@every_variant
def test_every_variant_has_exactly_its_parameters(config: TransformerConfig) -> None:
    model = TransformerLM(config)
    names = parameter_names(config)
    assert set(model.state_dict()) == names
    if config.tied_embeddings:
        names -= {"lm_head.weight"}
    assert {name for name, _ in model.named_parameters()} == names


def test_the_state_dict_has_the_assignments_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in TransformerLM(CONFIG).state_dict().items()}
    assert shapes["token_embeddings.weight"] == (50, 12)
    assert shapes["layers.1.attn.q_proj.weight"] == (12, 12)
    assert shapes["layers.1.ffn.w1.weight"] == (20, 12)
    assert shapes["layers.1.ffn.w2.weight"] == (12, 20)
    assert shapes["layers.1.ffn.w3.weight"] == (20, 12)
    assert shapes["layers.1.ln1.weight"] == (12,)
    assert shapes["lm_head.weight"] == (50, 12)


def test_the_number_of_parameters_of_tinystories_is_that_of_the_handout() -> None:
    config = TransformerConfig(
        vocab_size=10_000, context_length=256, num_layers=4, d_model=512, num_heads=16, d_ff=1344
    )
    model = TransformerLM(config, device="meta")
    assert sum(p.numel() for p in model.parameters()) == 22_696_448


@every_variant
def test_a_position_sees_no_future_in_value_or_gradient(config: TransformerConfig) -> None:
    model = TransformerLM(config)
    first, second = torch.randint(50, (2, 8)).unbind()
    second[:5] = first[:5]
    second[5:] = (first[5:] + 1) % 50
    torch.testing.assert_close(model(first)[:5], model(second)[:5], rtol=0, atol=1e-6)
    assert not torch.allclose(model(first)[5], model(second)[5], atol=1e-4)

    x = torch.randn(8, config.d_model, requires_grad=True)
    for at in range(8):
        (gradient,) = torch.autograd.grad(model.layers[0](x)[at].square().sum(), x)
        assert gradient[at + 1 :].eq(0).all()
        assert gradient[: at + 1].ne(0).any(-1).all()


def test_leading_axes_commute_with_the_model_and_a_batch_of_one_is_its_row() -> None:
    model = TransformerLM(CONFIG, dtype=torch.float64).requires_grad_(False)
    token_ids = torch.randint(50, (2, 3, 7))
    logits = model(token_ids)
    torch.testing.assert_close(logits, model(token_ids.flatten(0, 1)).view_as(logits), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logits[1, 2], model(token_ids[1, 2]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logits[1, 2:], model(token_ids[1, 2:]), rtol=1e-12, atol=1e-12)


def test_a_shorter_input_gives_the_first_rows_of_a_longer_one() -> None:
    model = TransformerLM(CONFIG, dtype=torch.float64).requires_grad_(False)
    token_ids = torch.randint(50, (2, 8))
    for seq in range(1, 9):
        torch.testing.assert_close(
            model(token_ids[:, :seq]), model(token_ids)[:, :seq], rtol=1e-12, atol=1e-12
        )


def test_a_longer_input_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="the input has 9 tokens, more than the context_length of 8"):
        TransformerLM(CONFIG)(torch.zeros(1, 9, dtype=torch.long))


def test_an_id_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="token ids must be from 0 to 49, got ids from 3 to 50"):
        TransformerLM(CONFIG)(torch.tensor([[3, 50]]))


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(TransformerLM(CONFIG).parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not torch.equal(weights(1)[0], weights(2)[0])


def test_the_first_loss_is_that_of_knowing_nothing_tied_or_not() -> None:
    token_ids = torch.randint(1000, (4, 17))
    for tied in (False, True):
        config = TransformerConfig(
            vocab_size=1000,
            context_length=16,
            num_layers=2,
            d_model=64,
            num_heads=4,
            d_ff=128,
            tied_embeddings=tied,
        )
        loss = cross_entropy(TransformerLM(config)(token_ids[:, :-1]), token_ids[:, 1:])
        assert abs(loss.item() - math.log(1000)) < 0.3


def test_tied_embeddings_are_one_parameter_however_the_model_is_moved_loaded_or_copied() -> None:
    config = replace(CONFIG, tied_embeddings=True)
    model = TransformerLM(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    moved = TransformerLM(config, device="meta").to_empty(device="cpu")
    assert moved.lm_head.weight is moved.token_embeddings.weight  # before loading, too
    moved.load_state_dict(state)
    assigned = TransformerLM(config)
    assigned.load_state_dict(state, assign=True)
    copied = copy.deepcopy(model)
    for each in (model, moved, assigned, copied, TransformerLM(config).double()):
        assert each.lm_head.weight is each.token_embeddings.weight
        saved = each.state_dict()
        assert saved["lm_head.weight"].data_ptr() == saved["token_embeddings.weight"].data_ptr()
    token_ids = torch.randint(50, (1, 8))
    for each in (moved, assigned, copied):
        assert torch.equal(each(token_ids), model(token_ids))


def test_a_state_dict_restores_the_model_exactly() -> None:
    model, other = TransformerLM(CONFIG), TransformerLM(CONFIG)
    other.load_state_dict(model.state_dict())
    token_ids = torch.randint(50, (2, 8))
    assert torch.equal(model(token_ids), other(token_ids))


def test_a_model_from_the_meta_device_is_the_model_after_loading() -> None:
    model = TransformerLM(CONFIG)
    with torch.device("meta"):
        empty = TransformerLM(CONFIG)
    assert all(p.is_meta for p in empty.parameters())
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    token_ids = torch.randint(50, (2, 8))
    assert torch.equal(model(token_ids), empty(token_ids))


def test_a_bfloat16_model_stays_near_the_float32_model() -> None:
    model = TransformerLM(CONFIG)
    half = copy.deepcopy(model).bfloat16()
    token_ids = torch.randint(50, (2, 8))
    logits = half(token_ids)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(token_ids), rtol=0.05, atol=0.05)


def test_autocast_gives_bfloat16_logits_and_a_float32_loss() -> None:
    model = TransformerLM(CONFIG)
    token_ids = torch.randint(50, (2, 8))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(token_ids)
        loss = cross_entropy(logits, token_ids)
    assert logits.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(model(token_ids), token_ids), rtol=0.02, atol=0)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def test_a_block_takes_any_parts() -> None:
    block = TransformerBlock(
        attn=CausalSelfAttention(12, 3), ffn=SwiGLU(12, 20), ln1=Identity(), ln2=Identity()
    )
    x = torch.randn(2, 5, 12)
    middle = x + block.attn(x)
    torch.testing.assert_close(block(x), middle + block.ffn(middle))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_variant
def test_a_gpu_computes_what_the_cpu_computes(config: TransformerConfig) -> None:
    model = TransformerLM(config, dtype=torch.float64)
    token_ids = torch.randint(50, (3, 8))
    expected = model(token_ids)
    logits = model.cuda()(token_ids.cuda())
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-10, atol=1e-10)
