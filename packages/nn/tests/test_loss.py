"""The loss, of logits and of hidden states: agreement with torch, chunks, options, memory and precision."""

import math
import weakref
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy, fused_loss, linear_cross_entropy

DOUBLE = torch.float64
Agree = Callable[..., None]
OPTIONS = [
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"ignore_index": 3},
    {"ignore_index": -100, "reduction": "sum"},
    {"ignore_index": 3, "reduction": "none", "z_loss": 0.1},
    {"z_loss": 0.01},
    {"ignore_index": -100, "z_loss": 0.3},
]
BATCHES = [(), (5,), (2, 3, 4)]


def torchs_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    reduction: str = "mean",
    ignore_index: int | None = None,
    z_loss: float = 0.0,
) -> Tensor:
    """The same in torch's terms, which has no z-loss and always an index to ignore."""
    rows, ids = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    ignored = -(10**9) if ignore_index is None else ignore_index
    losses = reference.cross_entropy(rows, ids, reduction="none", ignore_index=ignored)
    counted = ids != ignored
    losses = losses + z_loss * torch.where(counted, rows.logsumexp(-1) ** 2, 0)
    if reduction == "none":
        return losses.view(targets.shape)
    return losses.sum() / (counted.sum() if reduction == "mean" else 1)


def some_targets(batch: tuple[int, ...], vocab: int, ignore_index: int | None) -> Tensor:
    """Random ids; about a third is to be ignored, the first one never."""
    targets = torch.randint(vocab, batch)
    if ignore_index is not None and batch:
        ignored = torch.rand(batch) < 1 / 3
        ignored.view(-1)[0] = False
        targets = torch.where(ignored, ignore_index, targets)
        targets.view(-1)[0] = 0
    return targets if targets.dim() else targets.fill_(1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batch", BATCHES)
def test_cross_entropy_is_torchs(
    assert_agree: Agree, batch: tuple[int, ...], options: dict[str, Any]
) -> None:
    targets = some_targets(batch, 11, options.get("ignore_index"))
    assert_agree(
        lambda x: cross_entropy(x, targets, **options),
        lambda x: torchs_cross_entropy(x, targets, **options),
        5 * torch.randn(*batch, 11, dtype=DOUBLE),
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("logit_softcap", [None, 2.0])
@pytest.mark.parametrize("batch", BATCHES)
def test_the_loss_of_hidden_states_is_torchs(
    assert_agree: Agree, batch: tuple[int, ...], logit_softcap: float | None, options: dict[str, Any]
) -> None:
    targets = some_targets(batch, 11, options.get("ignore_index"))

    def theirs(hidden: Tensor, weight: Tensor) -> Tensor:
        logits = reference.linear(hidden, weight)
        if logit_softcap is not None:
            logits = logit_softcap * torch.tanh(logits / logit_softcap)
        return torchs_cross_entropy(logits, targets, **options)

    assert_agree(
        lambda hidden, weight: linear_cross_entropy(
            hidden, weight, targets, logit_softcap=logit_softcap, chunk_size=4, **options
        ),
        theirs,
        torch.randn(*batch, 6, dtype=DOUBLE),
        torch.randn(11, 6, dtype=DOUBLE),
    )


@settings(deadline=None, max_examples=60)
@given(
    tokens=st.integers(1, 12),
    vocab=st.integers(1, 9),
    width=st.integers(1, 5),
    chunk_size=st.integers(1, 15),
    slice_size=st.integers(1, 30),
    mean=st.booleans(),
    ignore_index=st.sampled_from([None, -1]),
    z_loss=st.sampled_from([0.0, 0.2]),
    scale=st.sampled_from([1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_in_chunks_is_as_a_whole(
    tokens: int,
    vocab: int,
    width: int,
    chunk_size: int,
    slice_size: int,
    mean: bool,
    ignore_index: int | None,
    z_loss: float,
    scale: float,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = scale * torch.randn(tokens, width, dtype=DOUBLE, generator=generator)
    weight = torch.randn(vocab, width, dtype=DOUBLE, generator=generator)
    targets = torch.randint(vocab, (tokens,), generator=generator)
    if ignore_index is not None:
        targets[1:][torch.rand(tokens - 1, generator=generator) < 0.5] = ignore_index
    leaves = hidden.requires_grad_(), weight.requires_grad_()
    options: dict[str, Any] = {
        "reduction": "mean" if mean else "sum",
        "ignore_index": ignore_index,
        "z_loss": z_loss,
    }
    with patch.object(fused_loss, "_SLICE", slice_size):  # a chunk's logits go slice by slice
        chunked = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size, **options)
    whole = cross_entropy(hidden @ weight.T, targets, **options)
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)
    ours, theirs = torch.autograd.grad(chunked, leaves), torch.autograd.grad(whole, leaves)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11 * scale * float(other.abs().max() + 1))
    with torch.no_grad():  # another way through the code
        torch.testing.assert_close(
            linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size, **options), whole.detach()
        )


def test_gradients_are_those_of_finite_differences() -> None:
    hidden = torch.randn(5, 3, dtype=DOUBLE, requires_grad=True)
    weight = torch.randn(7, 3, dtype=DOUBLE, requires_grad=True)
    targets = torch.tensor([0, 6, -1, 2, 2])

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return linear_cross_entropy(
            hidden, weight, targets, ignore_index=-1, z_loss=0.1, logit_softcap=3.0, chunk_size=2
        )

    assert torch.autograd.gradcheck(loss, (hidden, weight))
    logits = torch.randn(3, 5, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, torch.tensor([0, 4, 2]), z_loss=0.1), logits)
    assert torch.autograd.gradgradcheck(lambda x: cross_entropy(x, torch.tensor([0, 4, 2])), logits)


def test_what_comes_after_the_loss_scales_its_gradient() -> None:
    hidden = torch.randn(5, 3, dtype=DOUBLE, requires_grad=True)
    weight, targets = torch.randn(7, 3, dtype=DOUBLE), torch.randint(7, (5,))
    (ours,) = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets).exp() * 3, hidden)
    (theirs,) = torch.autograd.grad(cross_entropy(hidden @ weight.T, targets).exp() * 3, hidden)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_second_derivative_is_refused_and_a_second_backward_pass_is_not() -> None:
    hidden, weight = torch.randn(5, 3, requires_grad=True), torch.randn(7, 3)
    loss = linear_cross_entropy(hidden, weight, torch.randint(7, (5,)))
    (first,) = torch.autograd.grad(loss, hidden, retain_graph=True)
    (second,) = torch.autograd.grad(loss, hidden, retain_graph=True)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="KnownGradients has no second derivative"):
        torch.autograd.grad(loss, hidden, create_graph=True)


def test_the_loss_of_a_model_is_that_of_its_logits_with_tied_embeddings_and_softcap() -> None:
    config = TransformerConfig(
        vocab_size=20,
        context_length=8,
        num_layers=1,
        d_model=8,
        num_heads=2,
        d_ff=16,
        tied_embeddings=True,
        logit_softcap=2.0,
    )
    model = TransformerLM(config, dtype=DOUBLE)
    token_ids, targets = torch.randint(20, (2, 3, 8))
    fused = model.loss(token_ids, targets, ignore_index=int(targets[0, 0]), z_loss=0.1, chunk_size=7)
    plain = cross_entropy(model(token_ids), targets, ignore_index=int(targets[0, 0]), z_loss=0.1)
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=0)
    parameters = list(model.parameters())
    ours, theirs = torch.autograd.grad(fused, parameters), torch.autograd.grad(plain, parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logits_of_ten_thousand_are_stood(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype=dtype, requires_grad=True)
    high = float(logits.detach().max())  # bfloat16 has no 10,000
    targets = torch.tensor([1, 2])
    for loss in (
        cross_entropy(logits, targets),
        linear_cross_entropy(logits, torch.eye(3, dtype=dtype), targets, chunk_size=1),
    ):
        torch.testing.assert_close(loss.item(), (2 * high + math.log(3)) / 2, rtol=1e-7, atol=0)
        (gradient,) = torch.autograd.grad(loss, logits)
        expected = torch.tensor([[0.5, -0.5, 0], [1 / 6, 1 / 6, -1 / 3]], dtype=DOUBLE)
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-2, atol=1e-6)


def test_digits_are_kept_on_a_common_offset() -> None:
    # log(sum(exp(x))) - x_target, each near 10,000, would leave three digits after the point in float32.
    logits = torch.full((1, 3), 1e4)
    assert cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(math.log(3), rel=1e-7)
    hidden = logits.requires_grad_()
    loss = linear_cross_entropy(hidden, torch.eye(3), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-7)


def test_of_bfloat16_it_is_computed_and_returned_in_float32() -> None:
    logits = torch.randn(64, 1000).bfloat16()
    targets = torch.randint(1000, (64,))
    loss = cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, reference.cross_entropy(logits.float(), targets))


def test_a_bfloat16_model_adds_its_gradient_up_in_float32() -> None:
    hidden, weight = torch.randn(400, 16).bfloat16(), torch.randn(50, 16).bfloat16().requires_grad_()
    targets = torch.randint(50, (400,))
    loss = linear_cross_entropy(hidden, weight, targets, reduction="sum", chunk_size=1)
    (ours,) = torch.autograd.grad(loss, weight)
    exact = weight.detach().double().requires_grad_()
    whole = cross_entropy(hidden.double() @ exact.T, targets, reduction="sum")
    (theirs,) = torch.autograd.grad(whole, exact)
    assert loss.dtype == torch.float32 and ours.dtype == torch.bfloat16
    torch.testing.assert_close(loss.double(), whole, rtol=2e-3, atol=0)
    # Added up in bfloat16 the 400 terms would be off by 3 %.
    assert float((ours.double() - theirs).norm() / theirs.norm()) < 0.006


def test_under_autocast_only_the_matrix_products_are_rounded() -> None:
    hidden = torch.randn(64, 32, requires_grad=True)
    weight = torch.randn(100, 32, requires_grad=True)
    targets = torch.randint(100, (64,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = linear_cross_entropy(hidden, weight, targets, chunk_size=16)
        plain = cross_entropy(hidden @ weight.T, targets)
        assert torch.equal(linear_cross_entropy(hidden.detach(), weight.detach(), targets), plain.detach())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=0)
    exact = reference.cross_entropy(hidden.double() @ weight.double().T, targets)
    our_error, plain_error = (
        [
            float((gradient - right).norm() / right.norm())
            for gradient, right in zip(
                torch.autograd.grad(loss, (hidden, weight)),
                torch.autograd.grad(exact, (hidden, weight), retain_graph=True),
                strict=True,
            )
        ]
        for loss in (ours, plain)
    )
    assert max(our_error) < 1.2 * max(plain_error) < 0.012


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what is alive among the tensors that operations make; notes the most numbers at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.untyped_storage().data_ptr() not in self.seen:
            storage = out.untyped_storage()
            key, size = storage.data_ptr(), storage.nbytes() // out.element_size()
            self.seen.add(key)
            self.alive += size
            self.most = max(self.most, self.alive)
            weakref.finalize(storage, self._forget, key, size)
        return out

    def _forget(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size


def test_the_matrix_products_are_those_of_the_head_and_its_backward_pass() -> None:
    hidden = torch.randn(30, 8, requires_grad=True)
    weight, targets = torch.randn(50, 8, requires_grad=True), torch.randint(50, (30,))
    for chunk_size in (7, 100):
        with FlopCounterMode(display=False) as counter:
            linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size).backward()  # type: ignore[no-untyped-call]
        assert counter.get_total_flops() == 3 * 2 * 30 * 50 * 8


def test_where_everything_is_ignored_the_sum_is_zero_and_the_mean_undefined() -> None:
    hidden, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3)
    targets = torch.full((4,), -1)
    for loss in (
        linear_cross_entropy(hidden, weight, targets, ignore_index=-1, reduction="sum"),
        cross_entropy(hidden @ weight.T, targets, ignore_index=-1, reduction="sum"),
    ):
        (gradient,) = torch.autograd.grad(loss, hidden)
        assert loss.item() == 0 and gradient.eq(0).all()
    assert linear_cross_entropy(hidden, weight, targets, ignore_index=-1).isnan()
    assert cross_entropy(hidden @ weight.T, targets, ignore_index=-1).isnan()


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape of logits without the last axis, got \(1,\) and \(2, 5\)"):
        cross_entropy(torch.zeros(2, 5), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"shape of hidden without the last axis, got \(1,\) and \(2, 5\)"):
        linear_cross_entropy(torch.zeros(2, 5), torch.zeros(7, 5), torch.tensor([0]))


def test_the_mean_over_no_targets_is_refused_and_their_sum_is_zero() -> None:
    logits, weight, nothing = torch.zeros(0, 5), torch.zeros(7, 5), torch.zeros(0, dtype=torch.long)
    for compute in (cross_entropy, lambda x, y, **how: linear_cross_entropy(x, weight, y, **how)):
        with pytest.raises(ValueError, match=r"mean over no targets is undefined, got .* of shape \(0, 5\)"):
            compute(logits, nothing)
        assert compute(logits, nothing, reduction="sum") == 0
        assert compute(logits, nothing, reduction="none").shape == (0,)


def test_options_are_checked() -> None:
    logits, targets = torch.zeros(2, 5), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="chunk_size must be positive, got 0"):
        linear_cross_entropy(logits, torch.zeros(7, 5), targets, chunk_size=0)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reduction must be one of .*'mean'.*, got 'median'"):
        cross_entropy(torch.zeros(2, 5), torch.tensor([0, 1]), reduction="median")  # type: ignore[arg-type]


def test_logits_exist_a_chunk_at_a_time() -> None:
    hidden, weight = torch.randn(512, 4, requires_grad=True), torch.randn(200, 4, requires_grad=True)
    targets = torch.randint(200, (512,))
    most = {}
    for chunk_size in (32, 512):
        with LargestTensor() as tensors:
            loss = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size)
            torch.autograd.grad(loss, (hidden, weight))
        most[chunk_size] = tensors.most
    assert 512 * 200 <= most[512] < 1.2 * 512 * 200  # one copy, not two
    assert most[32] < 2 * 32 * 200 + 4 * 512 * 4 + 4 * 200 * 4


@pytest.mark.parametrize("target", [-100, -1, 7])
@pytest.mark.parametrize("with_gradients", [True, False])
def test_a_target_that_is_not_in_the_vocabulary_is_told(target: int, with_gradients: bool) -> None:
    hidden, targets = torch.randn(4, 5, requires_grad=with_gradients), torch.tensor([0, 6, target, 1])
    low, high = min(target, 0), max(target, 6)
    message = f"targets must be from 0 to 6, got ids from {low} to {high}: give .* as ignore_index"
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(hidden, torch.zeros(7, 5), targets)
    with pytest.raises(ValueError, match=message):
        cross_entropy(hidden @ torch.zeros(5, 7), targets)
    assert linear_cross_entropy(hidden, torch.zeros(7, 5), targets, ignore_index=target).isfinite()


@pytest.mark.parametrize("z_loss", [-1e-4, float("nan"), float("inf")])
def test_an_impossible_weight_of_the_z_loss_is_refused(z_loss: float) -> None:
    logits, targets = torch.zeros(2, 5), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="z_loss must be at least 0 and finite, got"):
        cross_entropy(logits, targets, z_loss=z_loss)
    with pytest.raises(ValueError, match="z_loss must be at least 0 and finite, got"):
        linear_cross_entropy(torch.zeros(2, 3), torch.zeros(7, 3), targets, z_loss=z_loss)
