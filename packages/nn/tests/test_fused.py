"""The fused forms beside the definitions they stand for."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hornbook.nn import RMSNorm, RotaryEmbedding, SwiGLU, TransformerConfig, TransformerLM, norm, rope
from hornbook.nn import embedding as embedding_module
from hornbook.nn import feed_forward as feed_forward_module
from hornbook.nn import linear as linear_module
from hornbook.nn.functional import gated_silu, linears
from hornbook.nn.fused_embedding import fused_rows_of, rows_of
from hornbook.nn.fused_linear import fused_linears
from hornbook.nn.fused_norm import fused_rms_norm
from hornbook.nn.fused_rope import complex_turns, fused_rotate_pairs
from hornbook.nn.fused_swiglu import fused_gated_silu
from hornbook.nn.norm import rms_norm
from hornbook.nn.rope import rotate_pairs

DOUBLE = torch.float64
Agree = Callable[..., None]
BATCHES = [(), (1,), (5,), (2, 3, 4)]


@pytest.mark.parametrize("batch", BATCHES)
def test_the_fused_norm_is_the_definition(assert_agree: Agree, batch: tuple[int, ...]) -> None:
    assert_agree(
        lambda x, gain: fused_rms_norm(x, gain, 1e-3),
        lambda x, gain: rms_norm(x, gain, 1e-3),
        torch.randn(*batch, 6, dtype=DOUBLE),
        torch.randn(6, dtype=DOUBLE),
    )


@pytest.mark.parametrize("batch", BATCHES)
def test_the_fused_gate_is_the_definition(assert_agree: Agree, batch: tuple[int, ...]) -> None:
    gate, x = 5 * torch.randn(2, *batch, 6, dtype=DOUBLE)
    assert_agree(fused_gated_silu, gated_silu, gate, x)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("sizes", [(5,), (5, 5), (4, 2, 2)], ids=str)
def test_maps_together_are_maps_one_by_one(
    assert_agree: Agree, batch: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    weights = [torch.randn(size, 6, dtype=DOUBLE) for size in sizes]

    def joined(maps: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Tensor]:
        return lambda x, *weights: torch.cat([(k + 1) * y.sin() for k, y in enumerate(maps(x, weights))], -1)

    assert_agree(joined(fused_linears), joined(linears), torch.randn(*batch, 6, dtype=DOUBLE), *weights)


@pytest.mark.parametrize("autocast", [False, True])
def test_maps_of_nothing_have_gradients_of_zero(autocast: bool) -> None:
    x, weight = torch.randn(0, 3, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        one, two = fused_linears(x, [weight, weight])
    grad_x, grad_weight = torch.autograd.grad((one + two).sum(), (x, weight))
    assert grad_x.shape == (0, 3, 6) and torch.equal(grad_weight, torch.zeros(5, 6))


def kernels(compute: Callable[[], object]) -> int:
    """Operations but for views and new memory: on a GPU each is a launch."""
    no_launch = {"detach", "empty", "new_empty", "permute", "split", "split_with_sizes", "t", "view"}

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        number: int = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.number += func._opname.removeprefix("_unsafe_") not in no_launch
            return func(*args, **(kwargs or {}))

    count = Count()  # type: ignore[no-untyped-call]
    with count:
        compute()
    return int(count.number)


def test_under_autocast_maps_together_are_as_exact_and_few_operations() -> None:
    x = torch.randn(2, 50, 64, requires_grad=True).clone()  # autocast would round a leaf once
    weights = [torch.randn(size, 64, requires_grad=True) for size in (64, 32, 32)]
    inputs, outer = [x, *weights], [torch.randn(2, 50, size).bfloat16() for size in (64, 32, 32)]
    exact = torch.autograd.grad(linears(x, weights), inputs, [grad.float() for grad in outer])
    numbers, errors = [], []
    for maps in (linears, fused_linears):

        def step(maps: Callable[..., tuple[Tensor, ...]] = maps) -> tuple[Tensor, ...]:
            with torch.autocast("cpu", torch.bfloat16):
                outputs = maps(x, weights)
            assert {y.dtype for y in outputs} == {torch.bfloat16}
            return torch.autograd.grad(outputs, inputs, outer)

        numbers.append(kernels(step))
        errors.append(
            [float((ours - right).norm() / right.norm()) for ours, right in zip(step(), exact, strict=True)]
        )
    assert numbers == [23, 8]
    for plain, fused in zip(*errors, strict=True):
        assert fused <= 1.1 * plain < 0.01


def test_the_rows_of_a_table_and_their_gradient_are_the_same_bits() -> None:
    table = torch.randn(7, 300, requires_grad=True)
    for ids in (torch.randint(7, (4, 500)), torch.tensor(3), torch.empty(0, 2, dtype=torch.int64)):
        outer = torch.randn(*ids.shape, 300)
        (right,) = torch.autograd.grad(rows_of(table, ids), table, outer)
        for kind in (torch.int64, torch.int32):
            rows = fused_rows_of(table, ids.to(kind))
            assert torch.equal(rows, rows_of(table, ids))
            assert torch.equal(torch.autograd.grad(rows, table, outer)[0], right)


def angles(seq: int, pairs: int) -> tuple[Tensor, Tensor]:
    table = torch.randn(seq, pairs, dtype=DOUBLE)
    return table.cos(), table.sin()


@pytest.mark.parametrize("batch", BATCHES)
def test_the_fused_rotation_is_the_definition(assert_agree: Agree, batch: tuple[int, ...]) -> None:
    cos, sin = angles(7, 3)
    x = torch.randn(*batch, 7, 6, dtype=DOUBLE)
    assert_agree(
        lambda x: fused_rotate_pairs(x, complex_turns(cos, sin)), lambda x: rotate_pairs(x, cos, sin), x
    )


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.unflatten(-1, (2, 4)).transpose(-2, -3),
        lambda x: x[..., 1:5],
        lambda x: x[..., ::2],
        lambda x: x.flatten()[1:-7].view(-1, 2, 4),
        lambda x: x.mT,
        lambda x: x[..., :1].expand(-1, -1, 4),
    ],
    ids=["heads", "odd offset", "every other", "odd and contiguous", "transposed", "expanded"],
)
def test_the_fused_rotation_takes_any_layout(view: Callable[[Tensor], Tensor], assert_agree: Agree) -> None:
    x = torch.randn(3, 4, 8, dtype=DOUBLE)
    cos, sin = angles(view(x).shape[-2], view(x).shape[-1] // 2)
    assert_agree(
        lambda x: fused_rotate_pairs(view(x), complex_turns(cos, sin)),
        lambda x: rotate_pairs(view(x), cos, sin),
        x,
    )


def test_the_gradient_of_a_sum_passes_though_it_has_no_layout() -> None:
    x = torch.randn(3, 4, 8, dtype=DOUBLE, requires_grad=True)
    cos, sin = angles(4, 4)
    (ours,) = torch.autograd.grad(fused_rotate_pairs(x, complex_turns(cos, sin)).sum(), x)
    (theirs,) = torch.autograd.grad(rotate_pairs(x, cos, sin).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gain = torch.randn(8, dtype=DOUBLE)
    (ours,) = torch.autograd.grad(fused_rms_norm(x, gain, 0.1).sum(), x)
    (theirs,) = torch.autograd.grad(rms_norm(x, gain, 0.1).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    (ours,) = torch.autograd.grad(fused_gated_silu(x, x).sum(), x)
    (theirs,) = torch.autograd.grad(gated_silu(x, x).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(1, 6),
    pairs=st.integers(1, 6),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 999),
)
def test_they_agree_in_float32_at_any_size(tokens: int, pairs: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = scale * torch.randn(2, tokens, 2 * pairs, generator=generator)
    gain = torch.randn(2 * pairs, generator=generator)
    cos, sin = angles(tokens, pairs)
    cos, sin = cos.float(), sin.float()
    # What rounds alike is compared relative to the largest entry.
    for ours, theirs in (
        (fused_rms_norm(x, gain, 1e-5), rms_norm(x, gain, 1e-5)),
        (fused_gated_silu(x, y), gated_silu(x, y)),
        (fused_rotate_pairs(x, complex_turns(cos, sin)), rotate_pairs(x, cos, sin)),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * float(theirs.abs().max()))


def test_gradients_are_those_of_finite_differences() -> None:
    x, y = torch.randn(2, 3, 4, dtype=DOUBLE).unbind()
    gain = torch.randn(4, dtype=DOUBLE, requires_grad=True)
    x.requires_grad_(), y.requires_grad_()
    cos, sin = angles(3, 2)
    assert torch.autograd.gradcheck(lambda x, gain: fused_rms_norm(x, gain, 0.1), (x, gain))
    assert torch.autograd.gradcheck(fused_gated_silu, (x, y))
    assert torch.autograd.gradcheck(lambda x: fused_rotate_pairs(x, complex_turns(cos, sin)), x)
    assert torch.autograd.gradgradcheck(lambda x: fused_rotate_pairs(x, complex_turns(cos, sin)), x)


@pytest.mark.parametrize("layer", [RMSNorm(4), SwiGLU(4, 6)], ids=["RMSNorm", "GatedSiLU"])
def test_a_second_derivative_is_refused(layer: torch.nn.Module, request: pytest.FixtureRequest) -> None:
    x = torch.randn(3, 4, requires_grad=True)
    name = request.node.callspec.id
    # The gradient that arrives is a constant: torch's own guard would let it pass.
    with pytest.raises(RuntimeError, match=f"{name} has no second derivative outside of torch.compile"):
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)


def test_autocast_during_the_backward_pass_rounds_no_sum() -> None:
    x, gain = torch.randn(3, 4, 64, requires_grad=True), torch.randn(64, requires_grad=True)
    y = fused_rms_norm(x, gain, 1e-5)
    expected = torch.autograd.grad(y, (x, gain), torch.ones_like(y), retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = torch.autograd.grad(y, (x, gain), torch.ones_like(y))
    assert all(torch.equal(mine, right) for mine, right in zip(ours, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    x, gain = torch.randn(50, 8).to(dtype), torch.randn(8).to(dtype)
    assert torch.equal(fused_rms_norm(x, gain, 1e-5), fused_rms_norm(x.float(), gain.float(), 1e-5).to(dtype))
    turns = complex_turns(*(table.float() for table in angles(50, 4)))
    assert torch.equal(fused_rotate_pairs(x, turns), fused_rotate_pairs(x.float(), turns).to(dtype))


def saved_bytes(compute: Callable[[], object], parameters: set[int]) -> int:
    """Memory that autograd keeps for the backward pass, each storage counted once."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in parameters:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = compute()
        del out
    return sum(kept.values())


def test_fused_forms_keep_less() -> None:
    x, y = torch.randn(2, 64, 32).unbind()
    x.requires_grad_(), y.requires_grad_()
    gain = torch.ones(32, requires_grad=True)
    inputs = {t.untyped_storage().data_ptr() for t in (x, gain)}
    one = x.nbytes
    assert saved_bytes(lambda: fused_gated_silu(x, y), inputs) == 0
    assert saved_bytes(lambda: fused_rms_norm(x, gain, 0.1), inputs) == one // 32  # a number a vector


def test_layers_use_the_fused_forms_where_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TransformerConfig(
        vocab_size=11, context_length=4, num_layers=2, d_model=8, num_heads=2, d_ff=12, qk_norm=True
    )
    model, called = TransformerLM(config), Counter[str]()

    def counted(name: str, fused: Callable[..., Any]) -> Callable[..., Any]:
        def count(*inputs: Any, **named: Any) -> Any:
            called[name] += 1
            return fused(*inputs, **named)

        return count

    for module, name in (
        (norm, "fused_rms_norm"),
        (feed_forward_module, "fused_gated_silu"),
        (linear_module, "fused_linears"),
        (embedding_module, "fused_rows_of"),
        (rope, "fused_rotate_pairs"),
    ):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    model(torch.tensor([1, 2, 3]))
    assert called == {
        "fused_rms_norm": 2 * 4 + 1,
        "fused_gated_silu": 2,
        "fused_linears": 2 * 2,
        "fused_rotate_pairs": 2 * 2,
        "fused_rows_of": 1,
    }


def test_the_tables_of_a_rope_get_no_gradient() -> None:
    layer = RotaryEmbedding(100.0, 4, 5, dtype=DOUBLE)
    x = torch.randn(5, 4, dtype=DOUBLE, requires_grad=True)
    layer(x, torch.arange(5)).sum().backward()
    assert layer.cos.grad is None and layer.sin.grad is None
