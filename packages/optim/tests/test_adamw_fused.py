"""The compiled update of AdamW. Where torch can't compile, only the fallback can be tested."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from hornbook.optim import AdamW, Muon, _fused_adamw, cosine_schedule

SHAPES = [(24, 16), (16,), (3, 1, 5)]


@pytest.fixture(autouse=True)
def no_compiled_code_of_other_tests() -> Iterator[None]:
    # torch compiles one function eight times in a process at most.
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def params_of(dtype: torch.dtype, seed: int = 0) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in SHAPES
    ]


def groups_of(params: list[Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": params[:1], "weight_decay": 0.1},
        {"params": params[1:], "weight_decay": 0.0, "betas": (0.4, 0.8), "eps": 1e-6},
    ]


def set_gradients(*twins: list[Parameter], generator: torch.Generator) -> None:
    for same in zip(*twins, strict=True):
        grad = torch.randn(same[0].shape, generator=generator, dtype=torch.float64)
        for param in same:
            param.grad = grad.to(param.dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_fused_agrees_with_foreach_for_100_steps_and_new_rates_compile_nothing(
    dtype: torch.dtype, tolerance: float
) -> None:
    params, twins, starts = params_of(dtype), params_of(dtype), params_of(dtype)
    fused, plain = AdamW(groups_of(params), lr=0.0, fused=True), AdamW(groups_of(twins), lr=0.0)
    schedule = cosine_schedule(max_lr=0.02, min_lr=0.001, warmup_steps=10, cosine_steps=90)
    generator = torch.Generator().manual_seed(0)
    for step in range(100):
        set_gradients(params, twins, generator=generator)
        for group in (*fused.param_groups, *plain.param_groups):
            group["lr"] = schedule(step)
        with torch.compiler.set_stance("default" if step == 0 else "fail_on_recompile"):
            fused.step()
        plain.step()
        if not fused.fused:
            pytest.skip("torch can't compile here")
    for param, twin, start in zip(params, twins, starts, strict=True):
        # As a share of the way that a parameter went.
        assert (param - twin).abs().max() <= tolerance * (twin - start).abs().max()
        for key in ("exp_avg", "exp_avg_sq"):
            ours, theirs = fused.state[param][key], plain.state[twin][key]
            torch.testing.assert_close(ours, theirs, rtol=10 * tolerance, atol=tolerance)


def test_a_parameter_without_gradient_is_left_alone_and_may_get_one_later() -> None:
    params, twins = params_of(torch.float64, 1), params_of(torch.float64, 1)
    fused, plain = AdamW(groups_of(params), lr=0.01, fused=True), AdamW(groups_of(twins), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for without in (1, 1, None, 1):
        set_gradients(params, twins, generator=generator)
        if without is not None:
            before = params[without].detach().clone()
            params[without].grad = twins[without].grad = None
        fused.step()
        plain.step()
        if not fused.fused:
            pytest.skip("torch can't compile here")
        if without is not None:
            assert torch.equal(params[without], before)
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-12, atol=1e-14)
    assert fused.state[params[1]]["step"] == 1


@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_where_torch_cannot_compile_one_warning_is_logged_and_no_bit_differs_from_foreach(
    kind: type[AdamW] | type[Muon], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        msg = "no C++ compiler"
        raise RuntimeError(msg)

    monkeypatch.setattr(_fused_adamw, "_compiled", lambda: fail)
    params, twins = params_of(torch.float32), params_of(torch.float32)
    more: dict[str, Any] = {"algorithm": "adamw"} if kind is Muon else {}
    fused = kind([group | more for group in groups_of(params)], lr=0.01, fused=True)
    plain = kind([group | more for group in groups_of(twins)], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    with caplog.at_level(logging.WARNING, logger="hornbook.optim"):
        for _ in range(3):
            set_gradients(params, twins, generator=generator)
            fused.step()
            plain.step()
    assert all(torch.equal(param, twin) for param, twin in zip(params, twins, strict=True))
    assert [record.getMessage() for record in caplog.records] == [
        f"{kind.__name__} goes on without fused updates, which did not compile: no C++ compiler"
    ]
    assert not fused.fused


def test_at_torchs_limit_of_compilations_it_goes_on_with_foreach(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch._dynamo.config.recompile_limit", 1)
    optimizers = []
    for num_columns in (2, 3):
        params, twins = ([Parameter(torch.ones(4, num_columns))] for _ in range(2))
        fused, plain = AdamW(params, lr=0.1, fused=True), AdamW(twins, lr=0.1)
        generator = torch.Generator().manual_seed(0)
        with caplog.at_level(logging.WARNING, logger="hornbook.optim"):
            for _ in range(2):
                set_gradients(params, twins, generator=generator)
                fused.step()
                plain.step()
        torch.testing.assert_close(params, twins)
        optimizers.append(fused)
    if not optimizers[0].fused:
        pytest.skip("torch can't compile here")
    assert not optimizers[1].fused
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("hornbook")]
    assert len(messages) == 1 and "AdamW goes on without fused updates" in messages[0]


def test_the_state_dict_does_not_say_how_it_was_run_and_a_copy_is_not_fused() -> None:
    params = params_of(torch.float32)
    fused = AdamW(groups_of(params), lr=0.01, fused=True)
    assert fused.state_dict() == AdamW(groups_of(params), lr=0.01).state_dict()
    assert fused.fused and not copy.deepcopy(fused).fused
