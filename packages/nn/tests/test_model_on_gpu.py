"""On a GPU: the numbers of the CPU, whole models and each kernel; skipped where there is none."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hornbook.nn import (
    GREEDY,
    TransformerConfig,
    TransformerLM,
    explicit_attention,
    fused_attention,
    generate_batch,
    linear_cross_entropy,
)
from reference_lm import EVERYTHING, VARIANTS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# Heads of 64 and enough positions: the shapes for which torch has its fast kernels.
WIDE = TransformerConfig(vocab_size=500, context_length=128, num_layers=2, d_model=256, num_heads=4, d_ff=688)


def loss_and_gradients(model: TransformerLM, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    loss = model.loss(tokens[:, :-1], tokens[:, 1:])
    gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return loss.detach().cpu(), [gradient.cpu() for gradient in gradients]


def relative_error(ours: list[Tensor], theirs: list[Tensor]) -> float:
    ours, theirs = (
        [x.detach().double().flatten() for x in ours],
        [x.detach().double().flatten() for x in theirs],
    )
    difference = torch.cat(ours) - torch.cat(theirs)
    return float(difference.norm() / torch.cat(theirs).norm())


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_loss_and_gradients_are_those_of_the_cpu(config: TransformerConfig) -> None:
    model = TransformerLM(config, dtype=torch.float64)
    tokens = torch.randint(config.vocab_size, (3, config.context_length + 1))
    loss, gradients = loss_and_gradients(model, tokens)
    loss_there, gradients_there = loss_and_gradients(model.cuda(), tokens.cuda())
    torch.testing.assert_close(loss_there, loss, rtol=1e-12, atol=0)
    assert relative_error(gradients_there, gradients) < 1e-10


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(("queries", "keys"), [(96, 96), (1, 96), (5, 96)])
def test_the_fused_kernel_means_what_the_explicit_one_means(
    dtype: torch.dtype, tolerance: float, kv_heads: int, queries: int, keys: int
) -> None:
    shapes = ((2, 3, 4, queries, 64), (2, 3, kv_heads, keys, 64), (2, 3, kv_heads, keys, 64))
    inputs = [torch.randn(shape, device="cuda", requires_grad=True) for shape in shapes]
    weights = torch.randn(shapes[0], device="cuda")
    expected = explicit_attention(*inputs)
    mixed = fused_attention(*(x.to(dtype) for x in inputs))
    assert mixed.dtype == dtype
    assert relative_error([mixed], [expected]) < tolerance
    theirs = torch.autograd.grad((expected * weights).sum(), inputs)
    ours = torch.autograd.grad((mixed * weights).sum(), inputs)
    assert relative_error(list(ours), list(theirs)) < tolerance


@pytest.mark.usefixtures("unchecked")
def test_a_compiled_model_has_the_numbers_of_eager_mode() -> None:
    for config in (WIDE, replace(EVERYTHING, d_model=96, context_length=32, value_residual=False)):
        torch._dynamo.reset()
        model = TransformerLM(config, device="cuda")
        tokens = torch.randint(config.vocab_size, (4, config.context_length + 1), device="cuda")
        loss, gradients = loss_and_gradients(model, tokens)
        model.loss = torch.compile(model.loss, fullgraph=True, dynamic=False)  # type: ignore[method-assign]
        compiled_loss, compiled_gradients = loss_and_gradients(model, tokens)
        torch.testing.assert_close(compiled_loss, loss, rtol=1e-5, atol=0)
        assert relative_error(compiled_gradients, gradients) < 1e-5


def test_bfloat16_by_autocast_stays_near_float32() -> None:
    model = TransformerLM(WIDE, device="cuda")
    tokens = torch.randint(WIDE.vocab_size, (4, WIDE.context_length + 1), device="cuda")
    loss, gradients = loss_and_gradients(model, tokens)
    with torch.autocast("cuda", torch.bfloat16):
        rounded_loss, rounded_gradients = loss_and_gradients(model, tokens)
    torch.testing.assert_close(rounded_loss, loss, rtol=1e-3, atol=0)
    assert relative_error(rounded_gradients, gradients) < 3e-2


def test_the_logits_of_a_long_batch_never_exist_at_once() -> None:
    num_tokens, vocab_size, d_model = 131_072, 32_000, 64
    hidden = torch.randn(num_tokens, d_model, device="cuda", requires_grad=True)
    weight = torch.randn(vocab_size, d_model, device="cuda", requires_grad=True)
    targets = torch.randint(vocab_size, (num_tokens,), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", torch.bfloat16):
        linear_cross_entropy(hidden, weight, targets).backward()  # type: ignore[no-untyped-call]
    whole = num_tokens * vocab_size * 2  # bytes, in bfloat16, without their gradient
    assert torch.cuda.max_memory_allocated() - before < whole / 4


def test_generation_takes_the_most_likely_token_of_the_whole_text_again_and_again() -> None:
    model = TransformerLM(WIDE, device="cuda")
    prompts = [[1, 2, 3], [4], list(range(20))]
    answers = generate_batch(model, prompts, max_tokens=30, sampling=GREEDY)
    for prompt, answer in zip(prompts, answers, strict=True):
        text = list(prompt)
        for token in answer:
            with torch.no_grad():
                assert int(model(torch.tensor([text], device="cuda"))[0, -1].argmax()) == token
            text.append(token)
