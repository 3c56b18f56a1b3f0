"""torch.compile: what can't be compiled runs all the same, and errors of the model stay its own."""

import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from hornbook.trainer import compile_blocks, compiled


def break_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch.compile fail as it does where it has no code for the machine."""

    def refuse(_graph: object, _inputs: object) -> object:
        msg = "no code for this machine"
        raise NotImplementedError(msg)

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda what, **more: real(what, backend=refuse, **more))


def test_a_compiler_that_fails_is_named_once_and_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    weight = torch.tensor(2.0, requires_grad=True)
    calls = 0

    break_compiler(monkeypatch)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return ((weight * inputs - targets) ** 2).mean()

    run = compiled(loss)
    with caplog.at_level(logging.WARNING):
        values = [run(torch.ones(3), torch.zeros(3)) for _ in range(2)]
    assert [value.item() for value in values] == [4.0, 4.0]
    values[0].backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None and weight.grad.item() == 4.0
    (record,) = caplog.records
    assert "going on without torch.compile, which failed" in record.message
    assert "no code for this machine" in record.message


def test_a_block_that_cannot_be_compiled_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_compiler(monkeypatch)
    block = torch.nn.Linear(2, 2, bias=False)
    expected = block(torch.ones(2))
    compile_blocks([block])
    with caplog.at_level(logging.WARNING):
        found = [block(torch.ones(2)) for _ in range(2)]
    assert all(torch.equal(one, expected) for one in found)
    (record,) = caplog.records
    assert "going on without torch.compile, which failed" in record.message


def test_an_error_of_the_model_is_its_own() -> None:
    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs @ targets

    with pytest.raises(RuntimeError, match=r"size|shape"):
        compiled(loss)(torch.ones(2, 3), torch.ones(2, 3))


def test_the_cache_is_where_it_was_asked_for_unless_the_environment_says_otherwise() -> None:
    # In a process of its own: torch settles the place for good when its compiler is imported.
    code = """
import os
from hornbook.trainer import compile_blocks, compiled
for cache in ("/one", "/two"):
    compiled(lambda x, y: x, cache=cache)
    print(os.environ["TORCHINDUCTOR_CACHE_DIR"])
"""
    clean = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["/one", "/one"]
