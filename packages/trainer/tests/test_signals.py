"""A signal at any moment: the run saves when the step is done, says which it was, and goes on later."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from hornbook.trainer import Batch, Checkpoints, Evaluation, Loss, Row, random_windows, stop_on_signals
from tiny_run import CONTEXT_LENGTH, TOKENS, bigram_loss, run_in, same_bits, untimed_rows

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 128 + signal.SIGUSR1}


def at_start(send: Callable[[], None]) -> dict[str, Any]:
    class Sink:
        def start(self, step: int) -> None:
            send()

        def log(self, row: Row) -> None: ...

        def evaluated(self, step: int, evaluation: Evaluation) -> None: ...

        def close(self) -> None: ...

    return {"sinks": [Sink()]}


def in_a_batch(send: Callable[[], None]) -> dict[str, Any]:
    usual = random_windows(TOKENS, batch_size=4, context_length=CONTEXT_LENGTH, device="cpu", seed=3)

    def batches(step: int) -> Batch:
        if step == 6:
            send()
        return usual(step)

    return {"batches": batches}


def in_the_model(send: Callable[[], None]) -> dict[str, Any]:
    def make_loss(model: nn.Module) -> Loss:
        usual, calls = bigram_loss(model), 0

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == 5:
                send()
            return usual(inputs, targets)

        return loss

    return {"make_loss": make_loss}


def in_an_evaluation(send: Callable[[], None]) -> dict[str, Any]:
    def make_loss(model: nn.Module) -> Loss:
        usual, sent = bigram_loss(model), False

        def loss(inputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal sent
            if not model.training and not sent:
                sent = True
                send()
            return usual(inputs, targets)

        return loss

    return {"make_loss": make_loss}


class SignalledCheckpoints(Checkpoints):
    """Gets a signal in its first save."""

    send: Callable[[], None] | None = None

    def save(self, *arguments: Any, **more: Any) -> Path:
        if self.send is not None:
            send, self.send = self.send, None
            send()
        return super().save(*arguments, **more)


def in_a_save(send: Callable[[], None]) -> dict[str, Any]:
    return {"send_in_save": send}


MOMENTS = [at_start, in_a_batch, in_the_model, in_an_evaluation, in_a_save]


@pytest.mark.fault("three signals at five moments: saved, exit code, same bits")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_saves_at_the_next_step_and_the_rest_has_the_same_bits(
    tmp_path: Path, number: signal.Signals, moment: Callable[..., dict[str, Any]]
) -> None:
    parts = moment(lambda: os.kill(os.getpid(), number))
    checkpoints = SignalledCheckpoints(tmp_path / "stopped" / "checkpoints")
    checkpoints.send = parts.pop("send_in_save", None)
    _, whole = run_in(tmp_path / "straight", num_steps=16)
    with stop_on_signals() as stop:
        stopped, _ = run_in(tmp_path / "stopped", num_steps=16, checkpoints=checkpoints, stop=stop, **parts)
    assert (stop.signal, stop.exit_code) == (number, SIGNALS[number])
    # The batch of step 6 is made ahead, while step 5 runs.
    expected = {
        "at_start": {0},
        "in_a_batch": {5, 6},
        "in_the_model": {5},
        "in_an_evaluation": {10},
        "in_a_save": {7},
    }
    assert stopped.step in expected[moment.__name__]
    assert not stopped.finished
    saved = [int(path.name[5:]) for path in checkpoints.paths()]
    assert saved[-1:] == ([stopped.step] if stopped.step else [])
    resumed, again = run_in(tmp_path / "stopped", num_steps=16)
    assert resumed.finished
    assert same_bits(whole.state_dict(), again.state_dict())
    assert untimed_rows(tmp_path / "straight") == untimed_rows(tmp_path / "stopped")


@pytest.mark.parametrize(("number", "code"), SIGNALS.items())
def test_a_process_ends_with_the_exit_code_of_its_signal(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    script = Path(__file__).with_name("tiny_run.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        for line in process.stdout:
            if int(line) == 5:
                process.send_signal(number)
            process.stdin.write(b".")
            process.stdin.flush()
    assert process.returncode == code
    (checkpoint,) = (tmp_path / "checkpoints").glob("step-*")
    assert int(checkpoint.name[5:]) in {5, 6}  # the signal may come while the next step runs


@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN])
def test_a_second_ctrl_c_leaves_at_once_and_the_handlers_come_back(inherited: Any) -> None:
    at_first = signal.signal(signal.SIGINT, inherited)  # ignored where a script starts a job with &
    try:
        before = [signal.getsignal(number) for number in SIGNALS]
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.exit_code == 130
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        signal.signal(signal.SIGINT, at_first)
