"""A model and its loss under torch.compile: one graph, and the numbers of eager mode."""

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy, linear_cross_entropy

pytestmark = pytest.mark.usefixtures("unchecked")
COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
CONFIG = TransformerConfig(vocab_size=40, context_length=8, num_layers=1, d_model=16, num_heads=2, d_ff=24)
# Without value_residual, whose dataclass the checks of shapes wrap in what the compiler cannot follow.
MANY = replace(
    CONFIG,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    qk_norm=True,
    logit_softcap=20.0,
    embedding_shortcut=True,
    tied_embeddings=True,
)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def assert_compiled_agrees(config: TransformerConfig, **compile_arguments: Any) -> None:
    """Compiled is by the definitions, eager by the fused forms."""
    model = TransformerLM(config, dtype=torch.float64)
    parameters = list(model.parameters())
    token_ids = torch.randint(40, (2, 9))

    def loss() -> torch.Tensor:
        inputs, targets = token_ids[:, :-1], token_ids[:, 1:]
        whole = cross_entropy(model(inputs), targets, z_loss=0.1)
        return model.loss(inputs, targets, ignore_index=3, chunk_size=5) + 0.5 * whole

    eager, compiled = loss(), torch.compile(loss, fullgraph=True, **compile_arguments)()
    torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=0)
    ours, theirs = torch.autograd.grad(compiled, parameters), torch.autograd.grad(eager, parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, norm="post", ffn="silu"),
        replace(CONFIG, norm="none", position="none", ffn="relu2"),
        replace(CONFIG, attention="explicit"),
        MANY,
    ],
    ids=["baseline", "post-norm and silu", "no norm, no positions and relu2", "explicit", "many variants"],
)
def test_loss_and_gradients_trace_as_one_graph(config: TransformerConfig) -> None:
    assert_compiled_agrees(config, backend="aot_eager")  # needs no compiler


@pytest.mark.skipif(not COMPILER, reason="torch.compile on the CPU needs a C++ compiler")
def test_the_compiled_model_agrees_with_eager() -> None:
    # Most of this test's time is the C++ compiler's, which needs half as long for scalar code.
    assert_compiled_agrees(replace(CONFIG, tied_embeddings=True), options={"cpp.simdlen": 1})


def test_a_compiled_loss_under_autocast_is_that_of_eager_mode() -> None:
    hidden, weight = torch.randn(12, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    targets = torch.randint(20, (12,))

    def loss() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return linear_cross_entropy(hidden, weight, targets, chunk_size=5)

    eager, compiled = loss(), torch.compile(loss, fullgraph=True, backend="aot_eager")()
    assert torch.equal(compiled, eager)
    gradients = (torch.autograd.grad(x, (hidden, weight)) for x in (compiled, eager))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(not COMPILER, reason="torch.compile on the CPU needs a C++ compiler")
def test_torch_can_cache_the_compiled_loss() -> None:
    """Where it cannot, each start of a compiled run takes seconds more."""
    counters.clear()
    hidden, weight = torch.randn(12, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    torch.compile(linear_cross_entropy, fullgraph=True, dynamic=False, options={"cpp.simdlen": 1})(
        hidden, weight, torch.randint(20, (12,))
    ).backward()  # type: ignore[no-untyped-call]
    assert counters["aot_autograd"]["autograd_cache_bypass"] == 0
    assert counters["aot_autograd"]["total"] > 0


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at it
def test_blocks_that_are_compiled_one_by_one_give_the_numbers_of_eager_mode() -> None:
    # As under FSDP, which gathers around each. The angles are looked up outside of what is compiled.
    model = TransformerLM(CONFIG, dtype=torch.float64)
    token_ids = torch.randint(40, (2, 9))
    eager = model.loss(token_ids[:, :-1], token_ids[:, 1:])
    for block in model.layers:
        block.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    compiled = model.loss(token_ids[:, :-1], token_ids[:, 1:])
    torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(loss, list(model.parameters())) for loss in (compiled, eager))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
