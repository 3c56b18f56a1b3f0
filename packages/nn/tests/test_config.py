import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from hornbook.nn import TransformerConfig

Change = Callable[..., TransformerConfig]
replace: Change = dataclasses.replace  # its types would refuse what the tests below hand in
pytestmark = pytest.mark.usefixtures("unchecked")  # beartype would refuse wrong types before the config does
CONFIG = TransformerConfig(vocab_size=50, context_length=8, num_layers=2, d_model=12, num_heads=3, d_ff=20)


@pytest.mark.parametrize(
    "name", ["vocab_size", "context_length", "num_layers", "d_model", "num_heads", "d_ff"]
)
@pytest.mark.parametrize("value", [0, -1, True, 12.0, "12", None])
def test_a_size_is_a_positive_int(name: str, value: Any) -> None:
    wrong_type = isinstance(value, bool) or not isinstance(value, int)
    with pytest.raises(TypeError if wrong_type else ValueError) as caught:
        replace(CONFIG, **{name: value})
    rule = "an int" if wrong_type else "positive"
    assert str(caught.value).startswith(f"{name} must be {rule}, got {value!r}")


@pytest.mark.parametrize("name", ["rope_theta", "norm_eps"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_number_is_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got {value}"):
        replace(CONFIG, **{name: value})


@pytest.mark.parametrize("name", ["norm", "position", "ffn", "attention"])
def test_an_unknown_variant_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be one of \(.*\), got 'layer'"):
        replace(CONFIG, **{name: "layer"})


@pytest.mark.parametrize(
    "name", ["tied_embeddings", "qk_norm", "zero_init_outputs", "value_residual", "embedding_shortcut"]
)
def test_a_switch_is_a_bool(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
        replace(CONFIG, **{name: 1})


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="rope_theta must be positive and finite, got 1000"):
        replace(CONFIG, rope_theta=10**400)


def test_a_softcap_is_none_or_a_positive_number() -> None:
    assert replace(CONFIG, logit_softcap=None) == CONFIG
    with pytest.raises(ValueError, match=r"logit_softcap must be positive and finite, got 0\.0"):
        replace(CONFIG, logit_softcap=0.0)


def test_heads_of_keys_and_values_must_divide_the_heads() -> None:
    assert CONFIG.kv_heads == 3
    assert replace(CONFIG, num_kv_heads=1).kv_heads == 1
    for wrong, rule in ((2, "num_heads must be a multiple of num_kv_heads, got 3 and 2"), (0, "positive")):
        with pytest.raises(ValueError, match=rule):
            replace(CONFIG, num_kv_heads=wrong)
    with pytest.raises(TypeError, match=r"num_kv_heads must be an int, got 1\.0"):
        replace(CONFIG, num_kv_heads=1.0)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(
        ValueError, match="d_model must be a multiple of num_heads, got 12 and 5, or give head_dim"
    ):
        replace(CONFIG, num_heads=5)


def test_heads_have_the_width_that_is_given_whatever_the_model_has() -> None:
    assert CONFIG.head_width == 4
    wide = replace(CONFIG, num_heads=5, head_dim=6)
    assert wide.head_width == 6
    with pytest.raises(ValueError, match="head_dim must be positive, got 0"):
        replace(CONFIG, head_dim=0)
    with pytest.raises(TypeError, match=r"head_dim must be an int, got 4\.0"):
        replace(CONFIG, head_dim=4.0)
    with pytest.raises(ValueError, match=r"head_dim must be even for rotary positions, .* got 5"):
        replace(CONFIG, head_dim=5)


def test_an_odd_head_needs_no_pairs_only_without_rope() -> None:
    with pytest.raises(
        ValueError, match="head_dim must be even for rotary positions, which rotate pairs; got 3"
    ):
        replace(CONFIG, num_heads=4)
    assert replace(CONFIG, num_heads=4, position="none").head_width == 3


def test_a_config_is_a_value() -> None:
    assert replace(CONFIG) == CONFIG
    assert hash(replace(CONFIG)) == hash(CONFIG)
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.d_model = 24  # type: ignore[misc]
    assert TransformerConfig(**dataclasses.asdict(CONFIG)) == CONFIG
