import math
from itertools import pairwise

import pytest
import tyro

import sgd_toy as app
from recipes.toy import toy_losses
from recipes.wrong_input import exit_code_of


def say(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = exit_code_of(lambda: app.main(tyro.cli(app.Flags, args=words)))
    said = capsys.readouterr()
    return code, said.err if code else said.out


@pytest.mark.parametrize("lr", [0.0, 1.0, 10.0, 30.0, 1000.0])
def test_every_step_multiplies_the_weights_by_what_calculus_says(lr: float) -> None:
    losses = toy_losses(lr, num_steps=10, seed=3)
    for step, (before, after) in enumerate(pairwise(losses)):
        assert after == pytest.approx(before * (1 - lr / (50 * math.sqrt(step + 1))) ** 2, rel=1e-5)


def test_the_assignments_rates_fall_slowly_fall_fast_vanish_and_diverge(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = say(capsys)
    assert code == 0
    verdicts = said.split("\n\n")[1].splitlines()
    assert [line.split(":")[0] for line in verdicts] == ["lr 1", "lr 10", "lr 100", "lr 1000"]
    assert ["slowly" in line for line in verdicts] == [True, True, False, False]
    assert "falls fast" in verdicts[2]
    assert "diverges" in verdicts[3]
    # 20 is the mean of 100 squares of 5 times a standard normal, give or take.
    assert 15 < toy_losses(100.0, num_steps=10)[0] < 40
    assert toy_losses(100.0, num_steps=9)[-1] < 1e-21
    assert 1e17 < toy_losses(1000.0, num_steps=9)[-1] < 1e20


def test_a_rate_beyond_all_numbers_is_called_divergent(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no longer finite" in say(capsys, "--rates", "1e30")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-steps=0"], "error: --num-steps: at least 1 is needed, got 0"),
        (["--rates"], "error: --rates: at least 1 is needed, got 0"),
        (["--rates", "-1"], "error: --rates: a rate must be at least 0 and finite, got -1.0"),
        (["--seed=-1"], "error: --seed must be 0 to 2**63 - 1, got -1"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert say(capsys, *words) == (2, f"{message}\n")
