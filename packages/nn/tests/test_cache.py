from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import KVCache, TransformerConfig, TransformerLM
from hornbook.nn.cache import LayerCache
from reference_lm import EVERYTHING, VARIANTS, configs


def columns(*numbers: int) -> torch.Tensor:
    """One row, one head, one feature: a column is a number."""
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def held(cache: LayerCache) -> tuple[list[float], list[float]]:
    return cache.keys.flatten().tolist(), cache.values.flatten().tolist()


@settings(deadline=None, max_examples=30)
@given(configs(), st.data())
def test_a_text_in_pieces_gives_the_logits_of_the_whole(
    config: TransformerConfig, data: st.DataObject
) -> None:
    model = TransformerLM(config, dtype=torch.float64).requires_grad_(False)
    token_ids = torch.randint(config.vocab_size, (2, data.draw(st.integers(1, config.context_length))))
    cuts = data.draw(st.sets(st.integers(1, token_ids.shape[1])))
    cache = KVCache(config, num_rows=2, dtype=torch.float64)
    pieces = token_ids.tensor_split(sorted(cuts - {token_ids.shape[1]}), dim=1)
    logits = torch.cat([model(piece, cache=cache) for piece in pieces], dim=1)
    torch.testing.assert_close(logits, model(token_ids), rtol=1e-10, atol=1e-10)
    assert cache.length == token_ids.shape[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_on_the_left_changes_nothing(name: str) -> None:
    """Two rows of five and two ids, together and each alone."""
    config = VARIANTS[name]
    model = TransformerLM(config, dtype=torch.float64).requires_grad_(False)
    rows = [torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([[9, 2]])]
    cache = KVCache(config, num_rows=2, dtype=torch.float64)
    cache.extend(4)
    for row, token_ids in enumerate(rows):
        alone = KVCache(config, num_rows=1, dtype=torch.float64)
        model(token_ids[:, :-1], cache=alone)
        cache.replace([row], alone)
    newest, positions = torch.cat([row[:, -1:] for row in rows]), torch.tensor([[4], [1]])
    mask = torch.tensor([[[True] * 5], [[False] * 3 + [True] * 2]])
    together = model(newest, positions, mask=mask, cache=cache)
    expected = torch.stack([model(row)[0, -1:] for row in rows])
    torch.testing.assert_close(together, expected, rtol=1e-10, atol=1e-10)


def test_columns_move_to_the_front_when_the_memory_ends() -> None:
    cache = LayerCache(torch.zeros(1, 1, 4, 1), torch.zeros(1, 1, 4, 1))
    cache.append(columns(1, 2, 3), columns(-1, -2, -3))
    cache.forget(1)
    cache.append(columns(4), columns(-4))
    assert held(cache) == ([2, 3, 4], [-2, -3, -4])
    keys, values = cache.append(columns(5), columns(-5))
    assert held(cache) == (keys.flatten().tolist(), values.flatten().tolist())
    assert held(cache) == ([2, 3, 4, 5], [-2, -3, -4, -5])
    cache.forget(4)
    cache.append(columns(6), columns(-6))
    assert held(cache) == ([6], [-6])


def test_rows_are_replaced_at_the_right_end_and_kept_in_order() -> None:
    cache = LayerCache(torch.zeros(3, 1, 9, 1), torch.zeros(3, 1, 9, 1))
    cache.append(*[torch.arange(9.0).view(3, 1, 3, 1)] * 2)
    two = LayerCache(torch.zeros(2, 1, 2, 1), torch.zeros(2, 1, 2, 1))
    two.append(*[torch.tensor([10.0, 11, 20, 21]).view(2, 1, 2, 1)] * 2)
    cache.replace([2, 0], two)
    assert cache.keys.squeeze().tolist() == [[0, 20, 21], [3, 4, 5], [6, 10, 11]]
    cache.keep([2, 1])
    assert cache.values.squeeze().tolist() == [[6, 10, 11], [3, 4, 5]]


def test_a_full_cache_says_so_and_stays_as_it_was() -> None:
    cache = LayerCache(torch.zeros(1, 1, 4, 1), torch.zeros(1, 1, 4, 1))
    cache.append(columns(1, 2, 3), columns(1, 2, 3))
    message = "the cache has room for 4 positions, holds 3 and got 2 more"
    with pytest.raises(ValueError, match=message):
        cache.append(columns(4, 5), columns(4, 5))
    assert held(cache) == ([1, 2, 3], [1, 2, 3])


def test_a_model_refuses_more_than_its_context_with_those_in_the_cache() -> None:
    model = TransformerLM(EVERYTHING).requires_grad_(False)
    cache = KVCache(EVERYTHING, num_rows=1, capacity=100)
    model(torch.zeros(1, 8, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="the input has 9 tokens, more than the context_length of 8"):
        model(torch.zeros(1, 1, dtype=torch.long), cache=cache)
    assert cache.length == 8


def test_memory_is_that_of_the_heads_of_keys() -> None:
    cache = KVCache(EVERYTHING, num_rows=3, capacity=5, dtype=torch.bfloat16)
    assert len(cache.layers) == EVERYTHING.num_layers
    cache.extend(5)
    assert cache.layers[0].keys.shape == (3, EVERYTHING.kv_heads, 5, EVERYTHING.head_width)
    assert cache.layers[0].values.dtype == torch.bfloat16


def test_a_cache_of_another_shape_is_refused_by_both() -> None:
    config = TransformerConfig(
        vocab_size=20, context_length=8, num_layers=1, d_model=16, num_heads=2, d_ff=24
    )
    model = TransformerLM(config)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"= \(1, 2, 8\), got keys of \(2, 2, 8\)"):
        model(ids, cache=KVCache(config, num_rows=1))
    with pytest.raises(ValueError, match=r"= \(2, 4, 4\), got keys of \(2, 2, 8\)"):
        model(ids, cache=KVCache(replace(config, num_heads=4), num_rows=2))
    with pytest.raises(ValueError, match="num_rows must be positive, got 0"):
        KVCache(config, num_rows=0)
