"""The training loop. It is handed all its parts and knows none of them."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import Module
from torch.optim import Optimizer

from hornbook.optim import clip_grad_norm_

from .batches import Batches
from .checkpoint import Checkpoints
from .evaluation import Evaluation, Loss
from .logs import Row, Sink
from .signals import StopRequest


class DivergedError(ArithmeticError):
    """The loss or the gradients are no longer finite. The update was not applied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long to train and how often to look."""

    num_steps: int
    """Updates in all."""
    max_grad_norm: float = 1.0
    """Gradients whose global norm is greater are scaled down to it."""
    eval_interval_steps: int
    """Evaluate after every so many updates, and after the last."""
    checkpoint_interval_steps: int
    """Save after every so many updates, after the last, and when asked to stop."""
    log_interval_steps: int = 1
    """Log every so many updates, every evaluated one and the last."""

    def __post_init__(self) -> None:
        """Refuse what no run can have."""
        for name in ("num_steps", "eval_interval_steps", "checkpoint_interval_steps", "log_interval_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                msg = f"{name} must be a whole number of at least 1, got {value!r}"
                raise ValueError(msg)
        if not self.max_grad_norm > 0:
            msg = f"max_grad_norm must be greater than 0 (inf for no clipping), got {self.max_grad_norm!r}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a call of `train` ended."""

    step: int  # updates done
    finished: bool  # whether that is all of them; if not, a signal stopped it
    wallclock_seconds: float  # over all calls of the run
    evaluation: Evaluation | None  # of the last step, if this call made it


def train(
    config: LoopConfig,
    *,
    model: Module,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    batches: Batches,
    loss: Loss,
    evaluate: Callable[[int], Evaluation],
    checkpoints: Checkpoints,
    sinks: Sequence[Sink] = (),
    stop: StopRequest | None = None,
) -> Outcome:
    """Train until the last step or until asked to stop; go on from the newest checkpoint if there is one.

    Steps are counted from 1: update number s uses `batches(s)` and the rate `schedule(s)`. All that an update
    depends on is in the checkpoint or is a function of s, so on one machine a run that was stopped, or
    killed, and called again ends with the same bits as one that never was.

    Args:
        config: Lengths and intervals.
        model: What is trained and saved.
        optimizer: Over the model's parameters; the rate of every group is set from the schedule.
        schedule: Rate of a step.
        batches: Batch of a step: inputs and targets.
        loss: Mean nats a token of (inputs, targets) under the model; may be compiled, may use autocast.
        evaluate: Called with the step, without gradients and with the model in eval mode.
        checkpoints: Where the run is saved and found again.
        sinks: Told every row; closed at the end, however it comes.
        stop: Looked at after every step.

    Raises:
        DivergedError: If the loss or the gradient norm is not finite. The weights are those before the step,
            and the last checkpoint stays the newest.
    """
    with contextlib.ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        restored = checkpoints.restore(model, optimizer)
        step = restored.step if restored else 0
        began = time.perf_counter() - (restored.wallclock_seconds if restored else 0.0)
        for sink in sinks:
            sink.start(step)
        saved_step = step
        evaluation: Evaluation | None = None
        model.train()
        while step < config.num_steps and not (stop and stop.signal):
            step += 1
            step_began = time.perf_counter()
            lr = schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            inputs, targets = batches(step)
            batch_loss = loss(inputs, targets)
            batch_loss.backward()  # type: ignore[no-untyped-call]
            grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm)
            # Reading the two numbers waits for the device: the price of never applying an update that is not
            # finite. One read for both.
            train_loss, norm = torch.stack((batch_loss.detach().float(), grad_norm.float())).tolist()
            if not (math.isfinite(train_loss) and math.isfinite(norm)):
                optimizer.zero_grad(set_to_none=True)
                msg = f"step {step}: loss {train_loss}, gradient norm {norm}, rate {lr:.3g}: not applied"
                raise DivergedError(msg)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step_seconds = time.perf_counter() - step_began

            last = step == config.num_steps
            evaluation = None
            if last or step % config.eval_interval_steps == 0:
                model.eval()
                with torch.no_grad():
                    evaluation = evaluate(step)
                model.train()
                for sink in sinks:
                    sink.evaluated(step, evaluation)
            if last or evaluation or step % config.log_interval_steps == 0:
                row = Row(
                    step=step,
                    train_loss=train_loss,
                    val_loss=evaluation.loss if evaluation else None,
                    lr=lr,
                    wallclock_time=round(time.perf_counter() - began, 3),
                    tokens_processed=step * targets.numel(),
                    grad_norm=norm,
                    tokens_per_second=round(targets.numel() / step_seconds, 1),
                    bits_per_byte=evaluation.bits_per_byte if evaluation else None,
                )
                for sink in sinks:
                    sink.log(row)
            if last or step % config.checkpoint_interval_steps == 0:
                checkpoints.save(step, model, optimizer, wallclock_seconds=time.perf_counter() - began)
                saved_step = step
        elapsed = time.perf_counter() - began
        if saved_step != step:
            checkpoints.save(step, model, optimizer, wallclock_seconds=elapsed)
        return Outcome(
            step=step,
            finished=step >= config.num_steps,
            wallclock_seconds=elapsed,
            evaluation=evaluation,
        )
