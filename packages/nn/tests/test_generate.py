import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import (
    GREEDY,
    Generation,
    Sampling,
    TransformerConfig,
    TransformerLM,
    draw_tokens,
    generate,
    generate_batch,
    next_token_probabilities,
)
from reference_lm import EVERYTHING, configs

CONFIG = TransformerConfig(vocab_size=20, context_length=6, num_layers=1, d_model=16, num_heads=2, d_ff=16)


@pytest.fixture
def model() -> TransformerLM:
    return TransformerLM(CONFIG)


def by_hand(
    model: TransformerLM, prompt: Sequence[int], max_tokens: int, sampling: Sampling, seed: int
) -> list[int]:
    """The whole window anew at each step, by the rule that `Generation` documents."""
    ids, numbers, context = list(prompt), random.Random(seed), model.config.context_length
    start = max(0, len(ids) - context)
    for _ in range(max_tokens):
        if len(ids) - start > context:
            start = len(ids) - max(1, context // 2)
        logits = model(torch.tensor([ids[start:]]))[:, -1].detach()
        seen = torch.zeros_like(logits, dtype=torch.bool)
        seen[0, ids] = True
        ids += draw_tokens(logits, sampling, [numbers.random()], seen).tolist()
    return ids[len(prompt) :]


@settings(deadline=None, max_examples=12)
@given(
    configs(),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(0, 25),
    st.sampled_from([1.0, 1.2]),
    st.sampled_from([0.0, 1.5]),
)
def test_a_batch_gives_each_prompt_what_it_gets_without_a_cache_and_alone(
    config: TransformerConfig, lengths: list[int], max_tokens: int, penalty: float, temperature: float
) -> None:
    model = TransformerLM(config, dtype=torch.float64)
    prompts = [torch.randint(config.vocab_size, (length,)).tolist() for length in lengths]
    seeds = list(range(len(prompts)))
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty, top_p=0.95)
    together = generate_batch(model, prompts, max_tokens=max_tokens, sampling=sampling, seeds=seeds)
    for prompt, seed, ids in zip(prompts, seeds, together, strict=True):
        assert ids == by_hand(model, prompt, max_tokens, sampling, seed)
        assert ids == generate(model, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)


def test_a_tiny_temperature_or_top_p_is_greedy(model: TransformerLM) -> None:
    expected = by_hand(model, [1, 2, 3], 25, GREEDY, seed=0)
    for sampling in (GREEDY, Sampling(temperature=1e-300), Sampling(top_p=1e-9), Sampling(top_k=1)):
        assert generate(model, [1, 2, 3], max_tokens=25, sampling=sampling) == expected


def test_the_same_seed_gives_the_same_ids_and_another_others(model: TransformerLM) -> None:
    first = generate(model, [1], max_tokens=40, seed=1)
    assert generate(model, [1], max_tokens=40, seed=1) == first
    assert generate(model, [1], max_tokens=40, seed=2) != first


def test_without_seeds_torchs_generator_decides_and_greedy_leaves_it_alone(model: TransformerLM) -> None:
    torch.manual_seed(1)
    first = generate_batch(model, [[1], [1]], max_tokens=40)
    assert first[0] != first[1]
    torch.manual_seed(1)
    assert generate_batch(model, [[1], [1]], max_tokens=40) == first
    before = torch.get_rng_state()
    generate(model, [1], max_tokens=4, sampling=GREEDY)
    generate(model, [1], max_tokens=4, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_gives_these_ids_for_good() -> None:
    """Python promises its sequence of numbers; these ids change only if the way from numbers to ids does."""
    model = TransformerLM(CONFIG, dtype=torch.float64)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every token is as likely
    numbers = random.Random(7)
    expected = [int(20 * numbers.random()) for _ in range(8)]
    assert generate(model, [1], max_tokens=8, seed=7) == expected == [6, 3, 13, 1, 10, 7, 1, 10]


def test_fewer_tokens_are_the_beginning_of_more(model: TransformerLM) -> None:
    longest = generate(model, [1], max_tokens=10, seed=0)
    for n in range(10):
        assert generate(model, [1], max_tokens=n, seed=0) == longest[:n]


def test_each_text_of_a_batch_ends_before_its_first_stop_id() -> None:
    model = TransformerLM(CONFIG, dtype=torch.float64)
    prompts, seeds = [[1], [2, 3, 4], [5]], [0, 1, 2]
    sampling = Sampling(repetition_penalty=1.5)  # what a text has seen stays its own when others end
    free = generate_batch(model, prompts, max_tokens=15, seeds=seeds, sampling=sampling)
    for stop_ids in ([], [3], [3, 8, 11], list(range(20))):
        expected = [
            ids[: next((n for n, token_id in enumerate(ids) if token_id in stop_ids), len(ids))]
            for ids in free
        ]
        stopped = generate_batch(
            model, prompts, max_tokens=15, seeds=seeds, sampling=sampling, stop_ids=stop_ids
        )
        assert stopped == expected


def test_a_stop_id_in_the_prompt_stops_nothing(model: TransformerLM) -> None:
    (first,) = generate(model, [7, 7], max_tokens=1, sampling=GREEDY)
    if first != 7:
        assert generate(model, [7, 7], max_tokens=1, sampling=GREEDY, stop_ids=[7]) == [first]
    assert generate(model, [7, 7], max_tokens=1, sampling=GREEDY, stop_ids=[first]) == []


def test_of_a_long_prompt_the_model_sees_the_end_and_the_penalty_all(model: TransformerLM) -> None:
    tail, whole = [1, 2, 3, 4, 5, 6], [9, 8, 7, 1, 2, 3, 4, 5, 6]
    short = generate(model, tail, max_tokens=10, seed=0)
    assert generate(model, whole, max_tokens=10, seed=0) == short
    harsh = replace(GREEDY, repetition_penalty=1e6)  # what was seen never comes again while there is other
    ids = generate(model, whole, max_tokens=11, sampling=harsh)
    logits = model(torch.tensor(tail))[-1]
    seen = torch.zeros(20, dtype=torch.bool).scatter_(0, torch.tensor(whole), True)
    assert ids[0] == next_token_probabilities(logits, harsh, seen).argmax()


def test_steps_are_lazy_and_hold_none_for_what_has_ended(model: TransformerLM) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    expected = generate_batch(model, [[1], [2, 3]], max_tokens=5, seeds=[0, 1])
    model.register_forward_hook(count)
    generation = Generation(model, [[1], [2, 3]], max_tokens=5, seeds=[0, 1])
    assert calls == 0
    assert next(generation) == [expected[0][0], expected[1][0]]
    assert next(generation) == [expected[0][1], expected[1][1]]
    generation.end(0)
    assert next(generation) == [None, expected[1][2]]
    with pytest.raises(ValueError, match="there is no prompt 2: they are numbered from 0 to 1"):
        generation.end(2)
    generation.end(1)
    assert calls == 3
    assert list(generation) == []
    assert calls == 3
    assert next(generation, "over") == "over"


def test_generation_leaves_mode_gradients_and_prompt_alone(model: TransformerLM) -> None:
    recorded: list[bool] = []
    prompt = [1, 2]
    handle = model.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    for mode in (True, False):
        model.train(mode)
        for _ in Generation(model, [prompt], max_tokens=2):
            assert model.training is mode
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
    assert prompt == [1, 2]
    assert recorded == [False] * 4  # the steps themselves keep no graph
    handle.remove()
    model(torch.tensor([1])).sum().backward()  # nothing was turned into an inference tensor


def test_half_precision_generates() -> None:
    model = TransformerLM(replace(EVERYTHING, attention="fused"), dtype=torch.bfloat16)
    assert len(generate(model, [1, 2], max_tokens=20, seed=0)) == 20


def test_weights_that_are_nan_are_told(model: TransformerLM) -> None:
    with torch.no_grad():
        model.get_parameter("layers.0.ffn.w1.weight")[0, 0] = math.nan
    message = "the model gave scores that are not finite for prompt 0: look for NaN in its weights"
    for sampling in (GREEDY, Sampling(top_p=0.5)):
        with pytest.raises(ValueError, match=message):
            generate(model, [1, 2], max_tokens=3, sampling=sampling)


@pytest.mark.usefixtures("unchecked")
def test_arrays_of_ids_are_prompts(model: TransformerLM) -> None:
    expected = generate_batch(model, [[1, 2], [3, 4]], max_tokens=3, sampling=GREEDY)
    array = np.array([[1, 2], [3, 4]], dtype=np.uint16)  # as in a token file
    prompts: list[Any] = [array, torch.tensor([[1, 2], [3, 4]]), list(array)]
    for prompt in prompts:
        assert generate_batch(model, prompt, max_tokens=3, sampling=GREEDY) == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": [[1.0]]}, "prompt id must be an integer, got 1.0 of type float"),
        ({"prompts": [[True]]}, "prompt id must be an integer, got True of type bool"),
        ({"prompts": [[[1]]]}, r"prompt id must be an integer, got \[1\] of type list"),
        (
            {"prompts": [1, 2]},
            "prompt ids must be a list of integers, got 1 of type int",
        ),
        ({"stop_ids": 5}, "stop ids must be a list of integers, got 5 of type int"),
        ({"stop_ids": ["end"]}, "stop id must be an integer, got 'end' of type str"),
        ({"max_tokens": 2.0}, "max_tokens must be an integer, got 2.0 of type float"),
        ({"seeds": [0.5]}, "a seed must be an integer, got 0.5 of type float"),
    ],
)
def test_what_is_no_integer_is_refused_by_name(
    model: TransformerLM, arguments: dict[str, Any], message: str
) -> None:
    valid: dict[str, Any] = {"prompts": [[1]], "max_tokens": 5}
    with pytest.raises(TypeError, match=message):
        Generation(model, **valid | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": []}, "there is no prompt: give at least one"),
        ({"prompts": [[1], []]}, "a prompt is empty: give at least one id"),
        ({"prompts": [[3, 20]]}, "prompt id 20 is not in the vocabulary of 20 tokens"),
        ({"prompts": [[-1]]}, "prompt id -1 is not in the vocabulary of 20 tokens"),
        ({"stop_ids": [20]}, "stop id 20 is not in the vocabulary of 20 tokens"),
        ({"max_tokens": -1}, "max_tokens must be at least 0, got -1"),
        ({"seeds": [1, 2]}, "there must be a seed for each prompt, got 2 for 1"),
        ({"seeds": [-1]}, r"a seed must be from 0 to 2\*\*63 - 1, got -1"),
        ({"seeds": [2**63]}, r"a seed must be from 0 to 2\*\*63 - 1, got 9223372036854775808"),
        ({"sampling": Sampling(top_k=21)}, "top_k is 21, more than the vocabulary of 20 tokens"),
    ],
)
def test_bad_arguments_are_refused_by_the_call(
    model: TransformerLM, arguments: dict[str, Any], message: str
) -> None:
    valid: dict[str, Any] = {"prompts": [[1]], "max_tokens": 5}
    with pytest.raises(ValueError, match=message):
        Generation(model, **valid | arguments)


@pytest.mark.usefixtures("unchecked")
def test_arguments_of_the_wrong_kind_are_refused_by_name(model: TransformerLM) -> None:
    with pytest.raises(TypeError, match=r"sampling must be a Sampling, got {'top_k': 1} of type dict"):
        generate(model, [1], max_tokens=1, sampling={"top_k": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must be a TransformerLM, got a str"):
        generate("runs/model", [1], max_tokens=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prompts must be a list, one entry for each text, got <generator"):
        generate_batch(model, ([i] for i in range(3)), max_tokens=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="seeds must be a list, one entry for each text, got 1"):
        generate_batch(model, [[1]], max_tokens=1, seeds=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the model is on the meta device and has no values"):
        generate(TransformerLM(CONFIG, device="meta"), [1], max_tokens=1)


def test_rows_without_a_number_each_are_refused() -> None:
    with pytest.raises(ValueError, match="there must be a number for each row, got 1 for 2"):
        draw_tokens(torch.zeros(2, 3), Sampling(), [0.5])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_generates_what_the_cpu_generates() -> None:
    model = TransformerLM(EVERYTHING, dtype=torch.float64)
    prompts, seeds = [[1, 2], [3], list(range(12))], [0, 1, 2]
    for sampling in (GREEDY, Sampling(repetition_penalty=1.2, top_k=10, top_p=0.9, min_p=0.01)):
        expected = generate_batch(
            model.cpu(), prompts, max_tokens=20, sampling=sampling, seeds=seeds, stop_ids=[7]
        )
        on_gpu = generate_batch(
            model.cuda(), prompts, max_tokens=20, sampling=sampling, seeds=seeds, stop_ids=[7]
        )
        assert on_gpu == expected
