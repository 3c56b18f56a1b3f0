import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import (
    TransformerConfig,
    TransformerLM,
    generate,
    generate_iter,
    next_token_probabilities,
    sample_token,
)

CONFIG = TransformerConfig(vocab_size=20, context_length=6, num_layers=1, d_model=16, num_heads=2, d_ff=16)
logits_of_some_size = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)


@pytest.fixture
def model() -> TransformerLM:
    return TransformerLM(CONFIG)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def greedy_by_hand(model: TransformerLM, prompt: Sequence[int], num_tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(num_tokens):
        ids.append(int(model(torch.tensor(ids[-6:]))[-1].argmax()))
    return ids[len(prompt) :]


def test_temperature_zero_is_the_argmax_loop_past_the_context_too(model: TransformerLM) -> None:
    for prompt in ([3], [1, 2, 3], list(range(15))):
        expected = greedy_by_hand(model, prompt, 25)
        assert generate(model, prompt, max_tokens=25, temperature=0.0) == expected
        assert generate(model, prompt, max_tokens=25, temperature=1e-300) == expected


def test_a_tiny_top_p_is_greedy(model: TransformerLM) -> None:
    expected = greedy_by_hand(model, [1, 2, 3], 25)
    assert generate(model, [1, 2, 3], max_tokens=25, top_p=1e-9) == expected


def test_the_same_seed_gives_the_same_ids_and_another_others(model: TransformerLM) -> None:
    first = generate(model, [1], max_tokens=40, generator=seeded(1))
    assert generate(model, [1], max_tokens=40, generator=seeded(1)) == first
    assert generate(model, [1], max_tokens=40, generator=seeded(2)) != first
    torch.manual_seed(1)
    assert generate(model, [1], max_tokens=40) == first  # the global generator is the default


def test_fewer_tokens_are_the_beginning_of_more(model: TransformerLM) -> None:
    longest = generate(model, [1], max_tokens=10, generator=seeded())
    for n in range(10):
        assert generate(model, [1], max_tokens=n, generator=seeded()) == longest[:n]


def test_generation_ends_before_the_first_stop_id(model: TransformerLM) -> None:
    free = generate(model, [1], max_tokens=12, generator=seeded())
    for stop_id in range(20):
        end = free.index(stop_id) if stop_id in free else len(free)
        assert generate(model, [1], max_tokens=12, stop_id=stop_id, generator=seeded()) == free[:end]


def test_a_stop_id_in_the_prompt_stops_nothing(model: TransformerLM) -> None:
    first = generate(model, [7, 7], max_tokens=1, temperature=0.0)[0]
    if first != 7:
        assert generate(model, [7, 7], max_tokens=1, temperature=0.0, stop_id=7) == [first]
    assert generate(model, [7, 7], max_tokens=1, temperature=0.0, stop_id=first) == []


def test_only_the_last_window_of_the_text_matters(model: TransformerLM) -> None:
    short = generate(model, [1, 2, 3, 4, 5, 6], max_tokens=10, generator=seeded())
    assert generate(model, [9, 8, 7, 1, 2, 3, 4, 5, 6], max_tokens=10, generator=seeded()) == short


def test_the_iterator_yields_the_same_ids_lazily(model: TransformerLM) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    expected = generate(model, [1], max_tokens=5, generator=seeded())
    model.register_forward_hook(count)
    ids = generate_iter(model, [1], max_tokens=5, generator=seeded())
    assert calls == 0
    for done, expected_id in enumerate(expected, start=1):
        assert next(ids) == expected_id
        assert calls == done
    assert next(ids, None) is None


def test_generation_leaves_mode_gradients_and_prompt_alone(model: TransformerLM) -> None:
    recorded: list[bool] = []
    prompt = [1, 2]
    handle = model.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    for mode in (True, False):
        model.train(mode)
        for _ in generate_iter(model, prompt, max_tokens=2):
            assert model.training is mode
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
    assert prompt == [1, 2]
    assert recorded == [False] * 4  # the steps themselves keep no graph
    handle.remove()
    model(torch.tensor([1])).sum().backward()  # nothing was turned into an inference tensor


@pytest.mark.usefixtures("unchecked")
def test_an_array_of_ids_is_a_prompt_and_a_float_is_no_id(model: TransformerLM) -> None:
    expected = generate(model, [1, 2], max_tokens=3, temperature=0.0)
    array = np.array([1, 2], dtype=np.uint16)  # as in a token file
    ids = generate(model, array, max_tokens=3, temperature=0.0)  # type: ignore[arg-type]
    assert ids == expected
    with pytest.raises(TypeError, match="float"):
        generate(model, [1.0], max_tokens=3)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt_ids": []}, "the prompt is empty"),
        ({"prompt_ids": [3, 20]}, "prompt id 20 is not in the vocabulary of 20 tokens"),
        ({"prompt_ids": [-1]}, "prompt id -1 is not in the vocabulary of 20 tokens"),
        ({"stop_id": 20}, "stop_id 20 is not in the vocabulary of 20 tokens"),
        ({"max_tokens": -1}, "max_tokens must be at least 0, got -1"),
        ({"temperature": -0.5}, "temperature must be finite and at least 0 .*, got -0.5"),
        ({"temperature": math.nan}, "temperature must be finite and at least 0 .*, got nan"),
        ({"temperature": math.inf}, "temperature must be finite and at least 0 .*, got inf"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1 .*, got 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1 .*, got 1.5"),
        ({"top_p": math.nan}, "top_p must be above 0 and at most 1 .*, got nan"),
    ],
)
def test_bad_arguments_are_refused_by_the_call(
    model: TransformerLM, arguments: dict[str, Any], message: str
) -> None:
    valid: dict[str, Any] = {"prompt_ids": [1], "max_tokens": 5}
    with pytest.raises(ValueError, match=message):
        generate_iter(model, **valid | arguments)


def test_a_generator_on_another_device_is_refused() -> None:
    model = TransformerLM(CONFIG, device="meta")
    with pytest.raises(ValueError, match=r"the generator is on cpu and the model on meta: make it with"):
        generate_iter(model, [1], max_tokens=1, generator=seeded())


@settings(deadline=None, max_examples=60)
@given(logits_of_some_size, st.floats(0.05, 10), st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(
    values: list[float], temperature: float, top_p: float
) -> None:
    logits = torch.tensor(values)
    full = next_token_probabilities(logits, temperature=temperature).double()
    torch.testing.assert_close(full, (logits.double() / temperature).softmax(-1), rtol=1e-4, atol=1e-6)
    cut = next_token_probabilities(logits, temperature=temperature, top_p=top_p).double()
    kept = cut > 0
    tolerance = 1e-5  # float32 sums
    assert full[kept].sum() >= top_p - tolerance
    assert full[kept].sum() - full[kept].min() < top_p + tolerance
    assert not (~kept).any() or full[~kept].max() <= full[kept].min()
    torch.testing.assert_close(cut[kept], full[kept] / full[kept].sum(), rtol=1e-4, atol=1e-6)


def test_top_p_on_a_worked_example() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    for top_p, kept in ((0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 2, 3]), (0.95, [0, 1, 2, 3])):
        probabilities = next_token_probabilities(logits, top_p=top_p)
        assert probabilities.nonzero().flatten().tolist() == kept


def test_no_temperature_or_size_of_logits_gives_nan() -> None:
    for scale in (1e-38, 1.0, 1e38):
        for temperature in (1e-320, 1e-45, 1e-10, 1.0, 1e38, 1e300):
            probabilities = next_token_probabilities(
                torch.tensor([1.0, -1.0, 0.5]) * scale, temperature=temperature
            )
            torch.testing.assert_close(probabilities.sum().item(), 1.0)


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    logits, generator = torch.tensor([0.6, 0.3, 0.1]).log(), seeded()
    draws = torch.tensor([sample_token(logits, generator=generator) for _ in range(4000)])
    frequencies = draws.bincount(minlength=3) / 4000
    # Five standard deviations of a frequency are at most 5 * sqrt(0.25 / 4000) = 0.04.
    torch.testing.assert_close(frequencies, torch.tensor([0.6, 0.3, 0.1]), rtol=0, atol=0.04)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_generates_what_the_cpu_generates(model: TransformerLM) -> None:
    expected = generate(model.double(), [1, 2], max_tokens=20, temperature=0.0)
    assert generate(model.cuda(), [1, 2], max_tokens=20, temperature=0.0) == expected
    generator = torch.Generator("cuda").manual_seed(0)
    assert len(generate(model, [1, 2], max_tokens=20, top_p=0.9, generator=generator)) == 20
