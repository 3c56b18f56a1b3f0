"""NaN and infinity, wherever they come from: nothing is applied or saved, and the cause is on disk."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hornbook.trainer import (
    COLUMNS,
    BadStep,
    BadStepFile,
    DivergedError,
    Evaluation,
    Loss,
    LossScale,
    Outcome,
    random_windows,
    read_rows,
)
from tiny_run import CONTEXT_LENGTH, TOKENS, Bigram, bigram_loss, run_in, same_bits, untimed_rows

BATCHES = random_windows(TOKENS, batch_size=4, context_length=CONTEXT_LENGTH, device="cpu", seed=3)
STEP = 12
Spoil = Callable[[nn.Module, Tensor], Tensor]  # changes a loss, or the model before its backward pass


def spoil_loss(value: float) -> Spoil:
    return lambda model, loss: loss * value


def spoil_gradient(value: float) -> Spoil:
    def spoil(model: nn.Module, loss: Tensor) -> Tensor:
        weight = model.get_parameter("head.weight")

        def once(gradient: Tensor) -> Tensor:
            handle.remove()
            return gradient * value

        handle: RemovableHandle = weight.register_hook(once)  # type: ignore[no-untyped-call]
        return loss

    return spoil


def spoiled(spoil: Spoil, *, at: set[tuple[int, int]], micro_batches: int) -> Callable[[nn.Module], Loss]:
    """A loss that is spoiled at some (step, micro-batch)."""

    def make_loss(model: nn.Module) -> Loss:
        usual, calls = bigram_loss(model), 0

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal calls
            value = usual(inputs, targets)
            if not model.training:
                return value
            step, micro_batch = divmod(calls, micro_batches)
            calls += 1
            return spoil(model, value) if (step + 1, micro_batch) in at else value

        return loss

    return make_loss


def run(directory: Path, loop: dict[str, Any], **parts: Any) -> tuple[Outcome, Bigram]:
    record = BadStepFile(directory / "bad_steps.jsonl", BATCHES.starts)
    return run_in(directory, loop=loop, record_bad_step=record, batches=BATCHES, num_steps=20, **parts)


@pytest.mark.fault("NaN or infinity in a loss or a gradient, in any micro-batch: not applied")
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize(("micro_batches", "bad"), [(1, 0), (4, 0), (4, 3)])
def test_a_bad_loss_or_gradient_in_any_micro_batch_is_never_applied(
    tmp_path: Path, value: float, where: str, micro_batches: int, bad: int
) -> None:
    loop = {"micro_batch_size": 4 // micro_batches}
    spoil = {"loss": spoil_loss, "gradient": spoil_gradient}[where](value)
    make_loss = spoiled(spoil, at={(STEP, bad)}, micro_batches=micro_batches)
    _, whole = run(tmp_path / "straight", loop)
    with pytest.raises(DivergedError, match=rf"step {STEP}: loss .*, gradient norm (nan|inf).*: not applied"):
        run(tmp_path / "spoiled", loop, make_loss=make_loss)
    directory = tmp_path / "spoiled"
    assert [int(row[0]) for row in untimed_rows(directory)] == list(range(1, STEP))
    (line,) = (directory / "bad_steps.jsonl").read_text().splitlines()
    written = json.loads(line)
    assert written["step"] == STEP
    assert list(chain(*written["starts"])) == BATCHES.starts(STEP).tolist()
    at_fault = [isinstance(part, str) for part in written["micro_losses"]]
    assert at_fault == [where == "loss" and index == bad for index in range(micro_batches)]
    # What is on the disk is good: the run goes on from it, without the poison, to the bits of one without.
    _, again = run(directory, loop)
    assert same_bits(whole.state_dict(), again.state_dict())


@pytest.mark.fault("NaN or infinity in a weight: not saved")
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("moment", ["before the update", "by the update"])
def test_a_bad_weight_is_never_saved(tmp_path: Path, value: float, moment: str) -> None:
    def spoil(model: nn.Module, loss: Tensor) -> Tensor:
        # Row 0 of the table is in no loss if token 0 is not among the inputs: its weight is bad unseen.
        weight = model.get_parameter("table.weight" if moment == "by the update" else "head.weight")
        with torch.no_grad():
            weight[0] = value
        return loss if moment == "by the update" else bigram_loss(model)(*BATCHES(STEP))

    batches = BATCHES
    if moment == "by the update":
        data = TOKENS.clip(1)
        batches = random_windows(data, batch_size=4, context_length=CONTEXT_LENGTH, device="cpu", seed=3)
    parts: dict[str, Any] = {
        "batches": batches,
        "num_steps": 20,
        "evaluate": lambda last: Evaluation(
            loss=1.0, bits_per_byte=1.0, num_tokens=1, num_windows=1, num_windows_in_all=1
        ),
    }
    _, whole = run_in(tmp_path / "straight", **parts)
    make_loss = spoiled(spoil, at={(STEP, 0)}, micro_batches=1)
    message = (
        rf"step {STEP}: loss" if moment == "before the update" else "step 14: table.weight is not finite"
    )
    with pytest.raises(DivergedError, match=message):
        run_in(tmp_path / "spoiled", make_loss=make_loss, **parts)
    names = sorted(path.name for path in (tmp_path / "spoiled" / "checkpoints").glob("step-*"))
    assert names == ["step-00000007"]
    _, again = run_in(tmp_path / "spoiled", **parts)
    assert same_bits(whole.state_dict(), again.state_dict())


@pytest.mark.fault("NaN or infinity in an evaluation: the run ends, not saved")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_evaluation_ends_the_run_without_saving(tmp_path: Path, value: float) -> None:
    def evaluate(last: bool) -> Evaluation:
        return Evaluation(loss=value, bits_per_byte=1.0, num_tokens=1, num_windows=1, num_windows_in_all=1)

    with pytest.raises(DivergedError, match=f"step 10: the loss of the evaluation is {value}"):
        run_in(tmp_path, checkpoint_interval_steps=5, evaluate=evaluate)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000005"]


def test_so_many_bad_steps_as_allowed_are_left_out_and_counted(tmp_path: Path) -> None:
    weights: list[Tensor] = []

    def make_loss(model: nn.Module) -> Loss:
        usual = spoiled(spoil_loss(math.nan), at={(STEP, 0), (STEP + 2, 0)}, micro_batches=1)(model)

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            if model.training:
                weights.append(model.get_parameter("head.weight").detach().clone())
            return usual(inputs, targets)

        return loss

    outcome, _ = run(tmp_path / "two", {"max_skipped_steps": 2}, make_loss=make_loss)
    assert outcome.finished and outcome.progress.skipped_steps == 2
    changed = [not torch.equal(one, two) for one, two in pairwise(weights)]
    assert [step for step, moved in enumerate(changed, 1) if not moved] == [STEP, STEP + 2]
    rows = read_rows(tmp_path / "two" / "metrics.csv")
    assert rows[STEP - 1][1] == "nan" and rows[STEP][1] != "nan"
    skipped = COLUMNS.index("skipped_steps")
    assert [int(row[skipped]) for row in rows[STEP - 2 : STEP + 2]] == [0, 1, 1, 2]
    with pytest.raises(DivergedError, match=f"step {STEP + 2}"):
        run(tmp_path / "one", {"max_skipped_steps": 1}, make_loss=make_loss)


def test_what_is_written_of_bad_steps_goes_on_behind_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad_steps.jsonl"
    record = BadStepFile(path, BATCHES.starts)
    bad = BadStep(step=3, micro_losses=[math.nan], micro_batch_size=4, grad_norm=math.nan, lr=0.1)
    record(bad)
    path.write_text(path.read_text() + '{"step": 5, "gra')  # a kill
    record(replace(bad, step=7))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [3, 7]


def test_a_bad_step_that_is_made_again_is_written_down_once(tmp_path: Path) -> None:
    file = tmp_path / "bad_steps.jsonl"
    for nth in (STEP, STEP - 7):  # it goes on from step 7
        spoil = spoiled(spoil_loss(math.nan), at={(nth, 0)}, micro_batches=1)
        with pytest.raises(DivergedError, match=f"step {STEP}"):
            run(tmp_path, {}, make_loss=spoil)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [STEP]
    bad = BadStep(step=STEP, micro_losses=[1.0], micro_batch_size=4, grad_norm=math.nan, lr=0.1)
    other_process = random_windows(TOKENS, batch_size=4, context_length=CONTEXT_LENGTH, device="cpu", seed=4)
    for starts in (BATCHES.starts, other_process.starts):
        BadStepFile(file, starts)(bad)
    assert [json.loads(line)["micro_losses"] for line in file.read_text().splitlines()] == [[1.0], [1.0]]


def test_what_overflows_in_float16_is_no_fault_while_a_smaller_factor_may_help(tmp_path: Path) -> None:
    spoil = spoiled(spoil_gradient(math.inf), at={(3, 0), (4, 0), (5, 0)}, micro_batches=1)
    scale = LossScale(4.0)
    with pytest.raises(DivergedError, match="step 5"):
        run(tmp_path, {}, make_loss=spoil, loss_scale=scale)
    assert scale.value == 1.0
    assert [row[0] for row in untimed_rows(tmp_path)] == ["1", "2", "3", "4"]
