"""What people do to single layers of a model: watch them, adapt them, freeze them."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.utils import parametrize, prune
from torch.utils._python_dispatch import TorchDispatchMode

from hornbook.nn import Linear, TransformerConfig, TransformerLM, linear_cross_entropy
from hornbook.nn.fused_rope import complex_turns, fused_rotate_pairs

CONFIG = TransformerConfig(
    vocab_size=23, context_length=6, num_layers=2, d_model=8, num_heads=4, num_kv_heads=2, d_ff=12
)
TOGETHER = ["attn.q_proj", "attn.k_proj", "attn.v_proj", "ffn.w1", "ffn.w3"]
EVERY = [*(f"layers.1.{name}" for name in TOGETHER), "lm_head"]


def model_and_loss() -> tuple[TransformerLM, Callable[[], Tensor]]:
    torch.manual_seed(3)
    model = TransformerLM(CONFIG, dtype=torch.float64)
    ids = torch.randint(CONFIG.vocab_size, (2, 7))
    return model, lambda: model.loss(ids[:, :-1], ids[:, 1:])


def layer_of(model: Module, name: str) -> Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, Linear)
    return layer


def gradients(model: Module, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "watch",
    [
        lambda layer, seen: layer.register_forward_hook(lambda *_: seen.append("after")),
        lambda layer, seen: layer.register_forward_pre_hook(lambda *_: seen.append("before")),
        lambda layer, seen: layer.register_full_backward_hook(lambda *_: seen.append("back")),
        lambda layer, seen: layer.register_full_backward_pre_hook(lambda *_: seen.append("backward")),
    ],
    ids=["after", "before", "back", "backward"],
)
def test_a_hook_on_any_layer_runs_and_changes_no_gradient(
    name: str, watch: Callable[[Module, list[str]], Any]
) -> None:
    model, loss = model_and_loss()
    before, seen = gradients(model, loss()), list[str]()
    handle = watch(model.get_submodule(name), seen)
    after = gradients(model, loss())
    assert len(seen) == 1
    for key, gradient in after.items():
        torch.testing.assert_close(gradient, before[key], rtol=1e-12, atol=1e-14)
    handle.remove()
    loss()
    assert len(seen) == 1


def test_a_hook_on_all_modules_and_a_replaced_forward_run() -> None:
    model, loss = model_and_loss()
    seen = Counter[str]()
    names = {module: name for name, module in model.named_modules()}
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.update([names[module]])
    )
    loss()
    handle.remove()
    # But for the head: torch counts FLOPs with such hooks, and would count those of a loss with all logits.
    assert all(seen[name] == 1 for name in EVERY[:-1])
    assert seen["lm_head"] == 0
    layer, before = layer_of(model, "layers.0.ffn.w3"), loss()
    with patch.object(layer, "forward", lambda x: 0 * Linear.forward(layer, x)):
        assert loss() != before
    assert loss() == before


def test_the_output_that_a_hook_puts_in_place_is_used() -> None:
    model, loss = model_and_loss()
    silenced = layer_of(model, "layers.0.attn.v_proj")
    silenced.register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    hooked = loss()
    silenced._forward_hooks.clear()
    torch.nn.init.zeros_(silenced.weight)
    torch.testing.assert_close(hooked, loss())


class LoRA(Module):
    """W x + B A x with W frozen (Hu et al., 2021)."""

    base: Linear

    def __init__(self, base: Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        rows, columns = base.weight.shape
        self.a = Parameter(torch.randn(2, columns, dtype=torch.float64))
        self.b = Parameter(torch.randn(rows, 2, dtype=torch.float64))

    @property
    def weight(self) -> Tensor:  # as adapters have it: that of the base alone
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.base(x) + x @ self.a.T @ self.b.T
        return adapted


@pytest.mark.parametrize("name", EVERY)
def test_an_adapter_in_the_place_of_a_layer_learns_what_its_formula_says(name: str) -> None:
    merged, loss_of_merged = model_and_loss()
    model, loss = model_and_loss()
    adapter = LoRA(layer_of(model, name))
    model.set_submodule(name, adapter)
    with torch.no_grad():
        layer_of(merged, name).weight.add_(adapter.b @ adapter.a)
    value, expected = loss(), loss_of_merged()
    torch.testing.assert_close(value, expected)
    grad = gradients(merged, expected)[f"{name}.weight"]
    ours = torch.autograd.grad(value, [adapter.a, adapter.b])
    torch.testing.assert_close(ours, (adapter.b.T @ grad, grad @ adapter.a.T))


def test_a_parametrized_and_a_pruned_layer_are_computed_as_such() -> None:
    class Doubled(Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    model, loss = model_and_loss()
    first, second = (layer_of(model, f"layers.0.{name}") for name in ("ffn.w1", "attn.k_proj"))
    mask = torch.rand(second.weight.shape) < 0.5
    with torch.no_grad():
        first.weight.mul_(2)
        second.weight.mul_(mask)
    expected = loss()
    model, loss = model_and_loss()
    first, second = (layer_of(model, f"layers.0.{name}") for name in ("ffn.w1", "attn.k_proj"))
    parametrize.register_parametrization(first, "weight", Doubled())
    prune.custom_from_mask(second, "weight", mask)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss(), expected)
    # A pruned layer's weight is made anew by a hook before each call.
    with torch.no_grad():
        second.get_parameter("weight_orig").zero_()
    assert loss() != expected


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts matrix products."""

    number: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func._opname in {"mm", "addmm", "bmm"}
        return func(*args, **(kwargs or {}))


def products(compute: Callable[[], object]) -> int:
    count = Products()  # type: ignore[no-untyped-call]
    with count:
        compute()
    return count.number


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "frozen", [["ffn.w1"], ["ffn.w1", "ffn.w3"], ["attn.q_proj", "attn.v_proj"]], ids=str
)
def test_a_frozen_layer_gets_no_gradient_and_costs_no_product(frozen: list[str], autocast: bool) -> None:
    torch.manual_seed(0)
    model = TransformerLM(CONFIG)
    ids = torch.randint(CONFIG.vocab_size, (2, 7))

    def backward() -> tuple[dict[str, Tensor | None], int]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model.loss(ids[:, :-1], ids[:, 1:])
        number = products(loss.backward)
        return {name: parameter.grad for name, parameter in model.named_parameters()}, number

    all_of_them, most = backward()
    names = {f"layers.{layer}.{name}.weight" for layer in (0, 1) for name in frozen}
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    some, fewer = backward()
    assert {name for name, gradient in some.items() if gradient is None} == names
    if not autocast:
        assert fewer == most - len(names)
    else:  # the gradients of all weights of an input are one product
        assert fewer == most - (2 if len(frozen) == 2 and "ffn.w3" in frozen else 0)
    for name in set(some) - names:
        torch.testing.assert_close(some[name], all_of_them[name])


def test_what_stands_before_a_frozen_part_costs_no_product() -> None:
    model, loss = model_and_loss()
    model.requires_grad_(False)
    layer_of(model, "layers.1.ffn.w3").requires_grad_(True)
    value = loss()
    # dlogits W of the head was made in the forward pass; then W2's input and the one weight.
    assert products(value.backward) == 2
    assert [name for name, parameter in model.named_parameters() if parameter.grad is not None] == [
        "layers.1.ffn.w3.weight"
    ]


@pytest.mark.parametrize(("wants_hidden", "wants_head"), [(True, True), (True, False), (False, True)])
def test_the_loss_makes_only_the_gradients_that_are_wanted(wants_hidden: bool, wants_head: bool) -> None:
    hidden, head = torch.randn(10, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    targets = torch.randint(7, (10,))
    inputs = [hidden.requires_grad_(wants_hidden), head.requires_grad_(wants_head)]
    wanted = [x for x in inputs if x.requires_grad]
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(hidden @ head.T, targets), wanted)

    def step() -> None:
        ours = torch.autograd.grad(linear_cross_entropy(hidden, head, targets, chunk_size=5), wanted)
        torch.testing.assert_close(ours, expected)

    assert products(step) == 2 * (1 + len(wanted))  # two chunks


def test_the_way_back_of_a_rotation_is_made_where_there_are_gradients() -> None:
    angles, x = torch.randn(3, 2), torch.randn(3, 4, requires_grad=True)
    with torch.no_grad():
        turns = complex_turns(angles.cos(), angles.sin())
    assert turns.back is None
    later = complex_turns(angles.cos(), angles.sin())
    for given in (turns, later):  # looked up without gradients, used with them
        (gradient,) = torch.autograd.grad(fused_rotate_pairs(x, given).square().sum(), x)
        torch.testing.assert_close(gradient, 2 * x.detach())  # a rotation keeps lengths
