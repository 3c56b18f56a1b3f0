import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.optim import (
    Schedule,
    Shape,
    constant,
    cosine,
    cosine_schedule,
    inverse_sqrt_schedule,
    linear,
    lr_schedule,
    trapezoid,
)


@st.composite
def cosines(draw: st.DrawFn) -> dict[str, Any]:
    max_lr = draw(st.floats(1e-8, 10.0))
    warmup_steps = draw(st.integers(0, 200))
    return {
        "max_lr": max_lr,
        "min_lr": max_lr * draw(st.floats(0.0, 1.0)),
        "warmup_steps": warmup_steps,
        "cosine_steps": warmup_steps + draw(st.integers(1, 300)),
    }


def rates(schedule: Schedule, steps: range) -> list[float]:
    return [schedule(step) for step in steps]


def test_the_values_of_the_assignment() -> None:
    # A run of 25 steps with warmup 7 and cosine 21, computed from the three lines of the definition.
    schedule = cosine_schedule(max_lr=1.0, min_lr=0.1, warmup_steps=7, cosine_steps=21)
    rising = [t / 7 for t in range(7)]
    falling = [0.1 + 0.5 * (1 + math.cos(math.pi * (t - 7) / 14)) * 0.9 for t in range(7, 22)]
    assert rates(schedule, range(25)) == pytest.approx(rising + falling + [0.1] * 3, rel=1e-14)


@given(cosines())
def test_it_rises_through_the_warmup_falls_along_the_cosine_and_rests(config: dict[str, Any]) -> None:
    schedule = cosine_schedule(**config)
    warmup_steps, cosine_steps = config["warmup_steps"], config["cosine_steps"]
    rising = rates(schedule, range(warmup_steps))
    falling = rates(schedule, range(warmup_steps, cosine_steps + 1))
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert rates(schedule, range(cosine_steps, cosine_steps + 5)) == [config["min_lr"]] * 5


@given(cosines())
def test_it_meets_the_maximum_and_the_minimum_without_a_jump(config: dict[str, Any]) -> None:
    schedule = cosine_schedule(**config)
    max_lr, min_lr = config["max_lr"], config["min_lr"]
    warmup_steps, cosine_steps = config["warmup_steps"], config["cosine_steps"]
    assert schedule(warmup_steps) == pytest.approx(max_lr, rel=1e-15)
    assert schedule(cosine_steps) == min_lr
    # No step is longer than the steepest slope: max / Tw up, pi / 2 * (max - min) / (Tc - Tw) down.
    steepest = max(
        max_lr / warmup_steps if warmup_steps else 0,
        math.pi / 2 * (max_lr - min_lr) / (cosine_steps - warmup_steps),
    )
    all_rates = rates(schedule, range(cosine_steps + 3))
    steps = [abs(after - before) for before, after in itertools.pairwise(all_rates)]
    assert max(steps) <= steepest * (1 + 1e-9) + 1e-15


@given(cosines())
def test_the_cosine_is_symmetric_about_its_middle(config: dict[str, Any]) -> None:
    schedule = cosine_schedule(**config)
    warmup_steps, cosine_steps = config["warmup_steps"], config["cosine_steps"]
    for step in range(cosine_steps - warmup_steps + 1):
        both = schedule(warmup_steps + step) + schedule(cosine_steps - step)
        assert both == pytest.approx(config["max_lr"] + config["min_lr"], rel=1e-12)


@given(st.floats(0.0, 1e3), st.integers(0, 10**6))
def test_the_inverse_square_root_halves_when_the_steps_quadruple(max_lr: float, step: int) -> None:
    schedule = inverse_sqrt_schedule(max_lr=max_lr)
    assert schedule(4 * (step + 1) - 1) == pytest.approx(schedule(step) / 2, rel=1e-15)
    assert schedule(0) == max_lr


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"max_lr": -1.0}, ValueError, "max_lr must be at least 0 and finite, got -1.0"),
        ({"max_lr": math.inf}, ValueError, "max_lr must be at least 0 and finite, got inf"),
        ({"min_lr": math.nan}, ValueError, "min_lr must be at least 0 and finite, got nan"),
        ({"min_lr": 2.0}, ValueError, "min_lr must not exceed max_lr, got 2.0 and 1.0"),
        ({"warmup_steps": -1}, ValueError, "warmup_steps must not be negative, got -1"),
        ({"warmup_steps": 2.5}, TypeError, "warmup_steps must be an int, got 2.5 of type float"),
        (
            {"cosine_steps": 4},
            ValueError,
            "cosine_steps must be more than warmup_steps, got 4 and 4; it counts",
        ),
        ({"cosine_steps": True}, TypeError, "cosine_steps must be an int, got True of type bool"),
    ],
)
def test_impossible_schedules_are_refused(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    right: dict[str, Any] = {"max_lr": 1.0, "min_lr": 0.1, "warmup_steps": 4, "cosine_steps": 8}
    with pytest.raises(error, match=message):
        cosine_schedule(**(right | wrong))


def test_a_negative_step_is_refused() -> None:
    cosine = cosine_schedule(max_lr=1.0, min_lr=0.1, warmup_steps=4, cosine_steps=8)
    for schedule in (cosine, inverse_sqrt_schedule(max_lr=1.0)):
        with pytest.raises(ValueError, match="step must not be negative, got -1"):
            schedule(-1)


shapes: st.SearchStrategy[Shape] = st.one_of(
    st.sampled_from([constant, linear, cosine]), st.floats(0.01, 1.0).map(trapezoid)
)


@st.composite
def any_schedules(draw: st.DrawFn) -> tuple[Shape, dict[str, float]]:
    max_lr = draw(st.floats(1e-8, 10.0))
    warmup = draw(st.floats(0.0, 100.0))
    return draw(shapes), {
        "max_lr": max_lr,
        "min_lr": max_lr * draw(st.floats(0.0, 1.0)),
        "warmup": warmup,
        "end": warmup + draw(st.floats(0.01, 1000.0)),
    }


@given(any_schedules(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20))
def test_any_shape_rises_through_the_warmup_then_never_rises_again(
    schedule_and_config: tuple[Shape, dict[str, float]], fractions: list[float]
) -> None:
    shape, config = schedule_and_config
    schedule = lr_schedule(shape, **config)
    warmup, end, max_lr = config["warmup"], config["end"], config["max_lr"]
    rising = [schedule(warmup * fraction) for fraction in sorted(fractions) if fraction < 1]
    falling = [schedule(warmup + (end - warmup) * fraction) for fraction in sorted(fractions)]
    assert rising == sorted(rising)
    for before, after in itertools.pairwise(falling):
        assert after <= before + 1e-12 * max_lr
    assert schedule(warmup) == pytest.approx(max_lr, rel=1e-14)
    assert all(0 <= rate <= max_lr * (1 + 1e-14) for rate in rising + falling)
    last = max_lr if shape is constant else config["min_lr"]
    assert schedule(end) == schedule(2 * end) == pytest.approx(last, rel=1e-9, abs=1e-12 * max_lr)


@given(any_schedules(), st.floats(0.0, 2.0), st.sampled_from([1e-3, 3600.0]))
def test_the_unit_of_progress_does_not_matter(
    schedule_and_config: tuple[Shape, dict[str, float]], fraction: float, unit: float
) -> None:
    shape, config = schedule_and_config
    other = config | {"warmup": unit * config["warmup"], "end": unit * config["end"]}
    t = fraction * config["end"]
    # Not at the steepest place, where a rounding of t may show.
    assert lr_schedule(shape, **other)(unit * t) == pytest.approx(
        lr_schedule(shape, **config)(t), rel=1e-6, abs=1e-6 * config["max_lr"]
    )


@given(cosines(), st.integers(0, 600))
def test_the_cosine_schedule_is_the_cosine_shape_in_steps_bit_for_bit(
    config: dict[str, Any], step: int
) -> None:
    steps = {"warmup": config["warmup_steps"], "end": config["cosine_steps"]}
    by_shape = lr_schedule(cosine, max_lr=config["max_lr"], min_lr=config["min_lr"], **steps)
    assert by_shape(step) == cosine_schedule(**config)(step)


def test_a_trapezoid_by_hand() -> None:
    # Warm-up to step 2, level to step 6 (half of the 8 steps after it), down to 0.2 at step 10.
    schedule = lr_schedule(trapezoid(0.5), max_lr=1.0, min_lr=0.2, warmup=2, end=10)
    expected = [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert rates(schedule, range(12)) == pytest.approx(expected, rel=1e-14)


@given(st.floats(0.0, 1.0))
def test_a_trapezoid_that_is_all_fall_is_linear(fraction: float) -> None:
    assert trapezoid(1.0)(fraction) == linear(fraction)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"max_lr": math.nan}, ValueError, "max_lr must be at least 0 and finite, got nan"),
        ({"min_lr": 2.0}, ValueError, "min_lr must not exceed max_lr, got 2.0 and 1.0"),
        ({"warmup": -0.1}, ValueError, "warmup must be at least 0 and finite, got -0.1"),
        ({"end": 0.1}, ValueError, "end must be more than warmup, got 0.1 and 0.1; it counts"),
        ({"end": "1"}, TypeError, "end must be a number, got '1' of type str"),
    ],
)
def test_impossible_schedules_of_any_shape_are_refused(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    right: dict[str, Any] = {"max_lr": 1.0, "min_lr": 0.1, "warmup": 0.1, "end": 1}
    with pytest.raises(error, match=message):
        lr_schedule(linear, **(right | wrong))
    for fraction in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"t must be at least 0 and finite, got {fraction}"):
            lr_schedule(linear, **right)(fraction)
    with pytest.raises(ValueError, match=r"decay_fraction must be at most 1, got 1\.5"):
        trapezoid(1.5)
    with pytest.raises(ValueError, match="decay_fraction must be more than 0 and finite, got 0"):
        trapezoid(0)
