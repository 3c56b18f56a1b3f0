"""Tensors that a model or a loss can't take are refused by name, not in the words of a kernel."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from hornbook.nn import TransformerConfig, TransformerLM, cross_entropy, linear_cross_entropy
from hornbook.nn.config import Attention

pytestmark = pytest.mark.usefixtures("unchecked")
CONFIG = TransformerConfig(vocab_size=20, context_length=8, num_layers=2, d_model=16, num_heads=2, d_ff=16)
IDS = torch.tensor([[1, 2, 3]])
ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "float ids": (
        {"token_ids": IDS.float()},
        TypeError,
        "token_ids must be torch.int64 or .*, got torch.float32",
    ),
    "ids of a token file": (
        {"token_ids": IDS.to(torch.uint16)},
        TypeError,
        r"token_ids must be .*, got torch.uint16: token_ids\.long\(\) makes them so",
    ),
    "one id": (
        {"token_ids": IDS[0, 0]},
        ValueError,
        r"token_ids must have an axis of positions, .* tensor\(1\)",
    ),
    "float positions": ({"positions": torch.ones(3)}, TypeError, "positions must be .*, got torch.float32"),
    "few positions": (
        {"positions": torch.tensor([0, 1])},
        ValueError,
        r"positions must be as many as token_ids along the last axis, got shapes \(2,\) and \(1, 3\)",
    ),
    "a list": (
        {"token_ids": [1, 2]},
        TypeError,
        r"token_ids must be a tensor, got list: torch\.tensor makes",
    ),
    "a mask of other positions": (
        {"mask": torch.ones(2, 2, dtype=torch.bool)},
        ValueError,
        r"mask must have shape \(\.\.\., 3, 3\), of queries and keys, got \(2, 2\)",
    ),
    "a flat mask": (
        {"mask": torch.ones(3, dtype=torch.bool)},
        ValueError,
        r"mask must have shape .* got \(3,\)",
    ),
    "a mask of numbers": (
        {"mask": torch.ones(3, 3)},
        TypeError,
        "mask must be torch.bool, .*, got torch.float32",
    ),
}


@pytest.mark.parametrize("attention", ["explicit", "fused"])
@pytest.mark.parametrize(("changes", "error", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_model_refuses(
    changes: dict[str, Any], error: type[Exception], message: str, attention: Attention
) -> None:
    model = TransformerLM(replace(CONFIG, attention=attention))
    with pytest.raises(error, match=message):
        model(**{"token_ids": IDS, **changes})


@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (0, 0)])
def test_no_tokens_have_no_logits(shape: tuple[int, int]) -> None:
    logits = TransformerLM(CONFIG)(torch.zeros(shape, dtype=torch.long))
    assert logits.shape == (*shape, 20)


HIDDEN, HEAD, TARGETS = torch.ones(3, 16), torch.ones(20, 16), torch.tensor([1, 2, 3])
CALLS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "float targets": (
        lambda: cross_entropy(HIDDEN, TARGETS.float()),
        TypeError,
        "targets must be .*, got torch.float32",
    ),
    "small targets": (
        lambda: linear_cross_entropy(HIDDEN, HEAD, TARGETS.to(torch.uint8)),
        TypeError,
        "targets must be .*, got torch.uint8",
    ),
    "one score": (
        lambda: cross_entropy(torch.tensor(1.0), TARGETS[0]),
        ValueError,
        "logits must have a last axis of scores",
    ),
    "ignored half": (
        lambda: cross_entropy(HIDDEN, TARGETS, ignore_index=0.5),  # type: ignore[arg-type]
        TypeError,
        "ignore_index must be an int, got 0.5 of type float",
    ),
    "z-loss in words": (
        lambda: cross_entropy(HIDDEN, TARGETS, z_loss="1"),  # type: ignore[arg-type]
        TypeError,
        "z_loss must be a number, got '1' of type str",
    ),
    "no cap": (
        lambda: linear_cross_entropy(HIDDEN, HEAD, TARGETS, logit_softcap=0.0),
        ValueError,
        "logit_softcap must be positive and finite, got 0.0",
    ),
    "another head": (
        lambda: linear_cross_entropy(HIDDEN, HEAD[:, :3], TARGETS),
        ValueError,
        r"weight must be \(vocab, d_model\), .*, got shapes \(20, 3\) and \(3, 16\)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), CALLS.values(), ids=CALLS)
def test_a_loss_refuses(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
