import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.nn import GREEDY, PLAIN, Sampling, draw_tokens, next_token_probabilities

logits_of_some_size = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)


@settings(deadline=None)
@given(logits_of_some_size, st.floats(0.05, 10), st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(
    values: list[float], temperature: float, top_p: float
) -> None:
    logits = torch.tensor(values)
    full = next_token_probabilities(logits, Sampling(temperature=temperature)).double()
    torch.testing.assert_close(full, (logits.double() / temperature).softmax(-1), rtol=1e-4, atol=1e-6)
    cut = next_token_probabilities(logits, Sampling(temperature=temperature, top_p=top_p)).double()
    kept = cut > 0
    tolerance = 1e-5  # float32 sums
    assert full[kept].sum() >= top_p - tolerance
    assert full[kept].sum() - full[kept].min() < top_p + tolerance
    assert not (~kept).any() or full[~kept].max() <= full[kept].min()
    torch.testing.assert_close(cut[kept], full[kept] / full[kept].sum(), rtol=1e-4, atol=1e-6)


def kept(logits: torch.Tensor, sampling: Sampling) -> list[int]:
    return next_token_probabilities(logits, sampling).nonzero().flatten().tolist()


def test_top_p_on_a_worked_example() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    for top_p, ids in ((0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 2, 3]), (0.95, [0, 1, 2, 3])):
        assert kept(logits, Sampling(top_p=top_p)) == ids
    assert kept(torch.tensor([0.25, 0.5, 0.25]).log2() * math.log(2), Sampling(top_p=0.5)) == [
        1
    ]  # just reached


def test_top_k_and_min_p_on_a_worked_example() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    for top_k, ids in ((1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3])):
        assert kept(logits, Sampling(top_k=top_k)) == ids
    for min_p, ids in ((0.2, [0, 1, 2, 3]), (0.3, [1, 2, 3]), (0.7, [1, 3]), (1.0, [1])):
        assert kept(logits, Sampling(min_p=min_p)) == ids


def test_of_equally_likely_tokens_the_lower_id_comes_first() -> None:
    logits = torch.zeros(1000)
    assert kept(logits, Sampling(top_k=3)) == [0, 1, 2]
    assert kept(logits, Sampling(top_p=0.0025)) == [0, 1, 2]
    assert kept(logits, GREEDY) == [0]
    assert draw_tokens(logits.unsqueeze(0), GREEDY, [0.5]).tolist() == [0]


def test_each_filter_works_on_what_the_one_before_has_left() -> None:
    # Of 0.4, 0.3, 0.2 and 0.1, top-k leaves 4/7 and 3/7: then 0.5 is reached by the first alone.
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert kept(logits, Sampling(top_p=0.5)) == [0, 1]
    assert kept(logits, Sampling(top_p=0.5, top_k=2)) == [0]
    # The temperature comes before them: at 1/2 the odds are squared, and 16 / 30 reach it.
    assert kept(logits, Sampling(top_p=0.5, temperature=0.5)) == [0]
    # The penalty comes first: it makes the likeliest token the unlikeliest, and greedy takes another.
    seen = torch.tensor([True, False, False, False])
    assert next_token_probabilities(logits, replace(GREEDY, repetition_penalty=9.0), seen)[1] == 1


def test_the_penalty_divides_what_is_positive_and_multiplies_what_is_negative() -> None:
    logits, seen = torch.tensor([3.0, 3.0, -1.0, -1.0]), torch.tensor([True, False, True, False])
    probabilities = next_token_probabilities(logits, Sampling(repetition_penalty=1.5), seen)
    torch.testing.assert_close(probabilities, torch.tensor([2.0, 3.0, -1.5, -1.0]).softmax(-1))
    nothing_seen = next_token_probabilities(logits, Sampling(repetition_penalty=1.5))
    torch.testing.assert_close(nothing_seen, logits.softmax(-1))


@settings(deadline=None)
@given(st.data())
def test_a_row_gets_what_it_would_get_alone(data: st.DataObject) -> None:
    rows, vocab = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 30))
    logits, seen = 3 * torch.randn(rows, vocab), torch.rand(rows, vocab) < 0.5
    uniforms = torch.rand(rows).tolist()
    sampling = Sampling(
        repetition_penalty=data.draw(st.sampled_from([1.0, 1.3])),
        temperature=data.draw(st.sampled_from([0.0, 0.7, 1.0])),
        top_k=data.draw(st.none() | st.integers(1, vocab)),
        top_p=data.draw(st.sampled_from([1.0, 0.8])),
        min_p=data.draw(st.sampled_from([0.0, 0.05])),
    )
    together = draw_tokens(logits, sampling, uniforms, seen)
    probabilities = next_token_probabilities(logits, sampling, seen)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(rows))
    for row in range(rows):
        one = slice(row, row + 1)
        assert torch.equal(draw_tokens(logits[one], sampling, uniforms[one], seen[one]), together[one])
        assert probabilities[row, together[row]] > 0


def test_a_token_is_drawn_for_a_share_of_the_numbers_that_is_its_probability() -> None:
    logits = torch.tensor([[0.25, 0.0, 0.5, 0.25]]).log()
    for uniform, token_id in ((0.0, 0), (0.2499, 0), (0.25, 2), (0.7499, 2), (0.75, 3), (1 - 2**-53, 3)):
        assert draw_tokens(logits, PLAIN, [uniform]).tolist() == [token_id]


def test_no_number_draws_a_token_that_cannot_come() -> None:
    first, last = torch.full((2, 1000), -math.inf)
    first[500:600], last[900:] = 0.0, torch.randn(100)
    for uniform in (0.0, 2**-60, 0.5, 1 - 2**-24, 1 - 2**-53):
        (drawn,) = draw_tokens(first.unsqueeze(0), PLAIN, [uniform]).tolist()
        assert 500 <= drawn < 600
        (drawn,) = draw_tokens(last.flip(0).unsqueeze(0), PLAIN, [uniform]).tolist()
        assert drawn < 100


def test_no_temperature_or_size_of_logits_gives_nan() -> None:
    for scale in (1e-38, 1.0, 1e38):
        for temperature in (1e-320, 1e-45, 1e-10, 1.0, 1e38, 1e300):
            probabilities = next_token_probabilities(
                torch.tensor([1.0, -1.0, 0.5]) * scale, Sampling(temperature=temperature)
            )
            torch.testing.assert_close(probabilities.sum().item(), 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("sampling", [PLAIN, GREEDY, Sampling(top_p=0.5, top_k=2, min_p=0.1)])
def test_a_row_without_a_finite_greatest_score_is_told(bad: float, sampling: Sampling) -> None:
    logits = torch.tensor([[0.0, 1.0, -math.inf], [0.0, bad, 9.0], [-math.inf] * 3])
    drawn = draw_tokens(logits, sampling, [0.9, 0.9, 0.9]).tolist()
    assert drawn[0] == 1
    assert drawn[1:] == [-1, -1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_is_widened_and_double_kept(dtype: torch.dtype) -> None:
    probabilities = next_token_probabilities(torch.randn(50).to(dtype), Sampling(top_p=0.9))
    assert probabilities.dtype == torch.promote_types(dtype, torch.float32)


def test_the_scores_themselves_are_left_alone() -> None:
    logits = torch.randn(2, 9)
    before = logits.clone()
    draw_tokens(logits, Sampling(repetition_penalty=2.0, top_k=3, top_p=0.5), [0.1, 0.2], logits > 0)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, "temperature must be finite and at least 0 .*, got -0.5"),
        ({"temperature": math.nan}, "temperature must be finite and at least 0 .*, got nan"),
        ({"temperature": math.inf}, "temperature must be finite and at least 0 .*, got inf"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1 .*, got 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1 .*, got 1.5"),
        ({"top_p": math.nan}, "top_p must be above 0 and at most 1 .*, got nan"),
        ({"top_k": 0}, "top_k must be positive, got 0"),
        ({"min_p": -0.1}, r"min_p must be from 0 \(which keeps every token\) to 1, got -0.1"),
        ({"min_p": 1.1}, "min_p must be from 0 .* to 1, got 1.1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be positive and finite .*, got 0.0"),
        ({"repetition_penalty": math.inf}, "repetition_penalty must be positive and finite .*, got inf"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "1"}, "temperature must be a number, got '1' of type str"),
        ({"top_p": True}, "top_p must be a number, got True of type bool"),
        ({"min_p": None}, "min_p must be a number, got None of type NoneType"),
        ({"top_k": 5.0}, "top_k must be an int, got 5.0 of type float"),
        ({"top_k": True}, "top_k must be an int, got True of type bool"),
    ],
)
def test_options_of_another_type_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Sampling(**options)


def test_more_tokens_than_there_are_cannot_be_kept() -> None:
    message = "top_k is 4, more than the vocabulary of 3 tokens; None keeps all"
    with pytest.raises(ValueError, match=message):
        next_token_probabilities(torch.zeros(3), Sampling(top_k=4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_what_the_cpu_draws() -> None:
    logits, uniforms = torch.randn(20, 1000, dtype=torch.float64), torch.rand(20).tolist()
    for sampling in (PLAIN, GREEDY, Sampling(top_k=50, top_p=0.9, min_p=0.01, temperature=0.8)):
        expected = draw_tokens(logits, sampling, uniforms)
        assert torch.equal(draw_tokens(logits.cuda(), sampling, uniforms).cpu(), expected)
