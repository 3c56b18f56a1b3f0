import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch

from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy

pytestmark = pytest.mark.usefixtures("unchecked")
COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
CONFIG = TransformerConfig(vocab_size=40, context_length=8, num_layers=1, d_model=16, num_heads=2, d_ff=24)


def assert_compiled_agrees(config: TransformerConfig, **compile_arguments: Any) -> None:
    model = TransformerLM(config, dtype=torch.float64)
    parameters = list(model.parameters())
    token_ids = torch.randint(40, (2, 9))

    def loss() -> torch.Tensor:
        return cross_entropy(model(token_ids[:, :-1]), token_ids[:, 1:])

    eager, compiled = loss(), torch.compile(loss, fullgraph=True, **compile_arguments)()
    torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=0)
    ours, theirs = torch.autograd.grad(compiled, parameters), torch.autograd.grad(eager, parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, norm="post", ffn="silu"), replace(CONFIG, norm="none", position="none")],
    ids=["baseline", "post-norm and silu", "no norm and no positions"],
)
def test_loss_and_gradients_trace_as_one_graph(config: TransformerConfig) -> None:
    assert_compiled_agrees(config, backend="aot_eager")  # needs no compiler


@pytest.mark.skipif(not COMPILER, reason="torch.compile on the CPU needs a C++ compiler")
def test_the_compiled_model_agrees_with_eager() -> None:
    # Most of this test's time is the C++ compiler's, which needs half as long for scalar code.
    assert_compiled_agrees(replace(CONFIG, tied_embeddings=True), options={"cpp.simdlen": 1})
