from dataclasses import FrozenInstanceError, asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hornbook.accounting import (
    PRESETS,
    Shape,
    TransformerShape,
    forward_flops,
    num_parameters,
    parameter_ledger,
)


def tiny(**changes: Any) -> Shape:
    shape = Shape(vocab_size=10, context_length=16, num_layers=1, d_model=4, num_heads=2, d_ff=8)
    return replace(shape, **changes)


IMPOSSIBLE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"vocab_size": 0}, ValueError, "vocab_size must be at least 1, got 0"),
    ({"context_length": -1}, ValueError, "context_length must be at least 1, got -1"),
    ({"num_layers": 2.0}, TypeError, r"num_layers must be an int, got 2\.0 of type float"),
    ({"num_heads": True}, TypeError, "num_heads must be an int, got True of type bool"),
    ({"d_ff": "8"}, TypeError, "d_ff must be an int, got '8' of type str"),
    ({"num_heads": 3}, ValueError, "d_model must be a multiple of num_heads, got 4 and 3"),
    ({"num_heads": 4}, ValueError, r"must be even, got 4 / 4 = 1; position='none' does without"),
    ({"norm": "layer"}, ValueError, "norm must be one of 'pre', 'post', 'none', got 'layer'"),
    ({"position": "nope"}, ValueError, "position must be one of 'rope', 'none', 'learned', got 'nope'"),
    ({"ffn": "tanh"}, ValueError, "ffn must be one of 'swiglu', 'silu', 'relu2', 'gelu', got 'tanh'"),
    ({"num_kv_heads": 0}, ValueError, "num_kv_heads must be at least 1, got 0"),
    ({"num_kv_heads": 1.0}, TypeError, r"num_kv_heads must be an int, got 1\.0 of type float"),
    ({"num_kv_heads": 4}, ValueError, "num_heads must be a multiple of num_kv_heads, got 2 and 4"),
    ({"tied_embeddings": "no"}, TypeError, "tied_embeddings must be True or False, got 'no'"),
    ({"qk_norm": 1}, TypeError, "qk_norm must be True or False, got 1"),
    ({"value_residual": None}, TypeError, "value_residual must be True or False, got None"),
    ({"embedding_shortcut": 0}, TypeError, "embedding_shortcut must be True or False, got 0"),
]


@pytest.mark.parametrize(("change", "error", "message"), IMPOSSIBLE)
def test_an_impossible_shape_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny(**change)


@pytest.mark.parametrize(("change", "error", "message"), IMPOSSIBLE)
def test_an_impossible_shape_of_another_class_is_refused_by_the_formulas(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    foreign = cast(TransformerShape, SimpleNamespace(**(asdict(tiny()) | change)))
    with pytest.raises(error, match=message):
        parameter_ledger(foreign)
    with pytest.raises(error, match=message):
        forward_flops(foreign)


def test_any_object_with_the_attributes_will_do() -> None:
    foreign = cast(TransformerShape, SimpleNamespace(**asdict(tiny()), rope_theta=10_000.0))
    assert num_parameters(foreign) == num_parameters(tiny())
    assert forward_flops(foreign) == forward_flops(tiny())


def test_a_shape_and_the_presets_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        tiny().d_model = 8  # type: ignore[misc]
    with pytest.raises(TypeError):
        PRESETS["mine"] = tiny()  # type: ignore[index]
