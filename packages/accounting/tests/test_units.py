import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.accounting import (
    GPT2_XL,
    format_count,
    format_flops,
    format_seconds,
    ledger_table,
    training_flops,
    training_seconds,
)

FACTORS = {
    format_count: {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12},
    format_flops: {f"{prefix}FLOP": 10.0 ** (3 * power) for power, prefix in enumerate(["", *"kMGTPEZY"])},
    format_seconds: {
        "µs": 1e-6,
        "ms": 1e-3,
        "s": 1.0,
        "min": 60.0,
        "h": 3_600.0,
        "days": 86_400.0,
        "years": 365.25 * 86_400,
    },
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_count(0), "0"),
        (format_count(999), "999"),
        (format_count(999.6), "1 k"),
        (format_count(999_499), "999 k"),
        (format_count(999_500), "1 M"),
        (format_count(327_680_000), "328 M"),
        (format_count(5e15), "5,000 T"),
        (format_flops(0), "0 FLOP"),
        (format_flops(1_000), "1 kFLOP"),
        (format_flops(1.37e18), "1.37 EFLOP"),
        (format_flops(2e28), "20,000 YFLOP"),
        (format_seconds(0), "0 µs"),
        (format_seconds(0.0123), "12.3 ms"),
        (format_seconds(59), "59 s"),
        (format_seconds(60), "1 min"),
        (format_seconds(82_500), "22.9 h"),
        (format_seconds(1e12), "31,688 years"),
    ],
)
def test_numbers_are_written_with_three_digits_and_the_largest_unit(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("write", FACTORS)
@given(exponent=st.floats(0, 26))
def test_what_is_written_is_the_number_to_three_digits(
    write: Callable[[float], str], exponent: float
) -> None:
    number = 10**exponent
    match = re.fullmatch(r"([\d.,]+) ?(\D*)", write(number))
    assert match is not None
    digits, unit = match.groups()
    assert float(digits.replace(",", "")) * FACTORS[write][unit] == pytest.approx(number, rel=0.0051)


@pytest.mark.parametrize("write", FACTORS)
def test_what_no_amount_can_be_is_refused(write: Callable[[float], str]) -> None:
    for number in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"must be at least 0 and finite, got {number}"):
            write(number)
    with pytest.raises(TypeError, match="must be a number, got '5' of type str"):
        write("5")  # type: ignore[arg-type]


def test_the_assignments_gpt2_xl_run_takes_18_years_on_an_a100() -> None:
    # 400,000 steps of 1,024 sequences at half of 19.5 TFLOP/s.
    step = training_flops(GPT2_XL, batch_size=1_024)
    assert training_seconds(step, peak_flops_per_second=19.5e12, mfu=0.5) == pytest.approx(
        1_422.05, abs=0.005
    )
    days = training_seconds(400_000 * step, peak_flops_per_second=19.5e12, mfu=0.5) / 86_400
    assert days == pytest.approx(6_583.6, abs=0.05)


def test_time_is_refused_for_what_no_device_does() -> None:
    for mfu in (0.0, 1.5, 40.0, math.nan):
        with pytest.raises(ValueError, match=f"mfu must be more than 0 and at most 1, got {mfu}"):
            training_seconds(1e15, peak_flops_per_second=1e12, mfu=mfu)
    for peak in (0.0, math.inf):
        with pytest.raises(ValueError, match=f"per_second must be more than 0 and finite, got {peak}"):
            training_seconds(1e15, peak_flops_per_second=peak, mfu=0.5)
    with pytest.raises(ValueError, match=r"flops must be at least 0 and finite, got -1\.0"):
        training_seconds(-1.0, peak_flops_per_second=1e12, mfu=0.5)


def test_an_empty_ledger_is_refused() -> None:
    with pytest.raises(ValueError, match="a ledger has at least one row, got none"):
        ledger_table([])
