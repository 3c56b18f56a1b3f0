"""The training loop. It is handed all its parts and knows none of them."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from .bad_steps import BadStep, DivergedError, check_weights, log_bad_step
from .batches import Batches
from .checkpoint_store import CheckpointStore
from .evaluation import Evaluation, Loss
from .logs import Row, Sink
from .loop_config import LoopConfig
from .precision import LossScale
from .prefetching import prefetch
from .progress import Progress
from .signals import StopRequest
from .update import update_
from .weight_average import WeightAverage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a call of `train` ended."""

    step: int  # updates done
    finished: bool  # whether the run is at its end; if not, a signal stopped it
    wallclock_seconds: float  # over all calls of the run
    evaluation: Evaluation | None  # the last one, if this call made it
    progress: Progress  # the counters


def alone(numbers: Tensor) -> Tensor:
    """Agree with nobody: `agree` of a run in one process."""
    return numbers


def train(
    config: LoopConfig,
    *,
    model: Module,
    optimizer: Optimizer,
    schedule: Callable[[Any], float],
    schedule_by: Literal["step", "fraction"] = "step",
    batches: Batches,
    loss: Loss,
    evaluate: Callable[[bool], Evaluation],
    checkpoints: CheckpointStore,
    sinks: Sequence[Sink] = (),
    stop: StopRequest | None = None,
    loss_scale: LossScale | None = None,
    average: WeightAverage | None = None,
    record_bad_step: Callable[[BadStep], None] = log_bad_step,
    agree: Callable[[Tensor], Tensor] = alone,
    accumulating: Callable[[], AbstractContextManager[object]] = nullcontext,
    world_size: int = 1,
    flops_per_token: float | None = None,
    peak_flops_per_second: float | None = None,
) -> Outcome:
    """Train until a limit is reached or until asked to stop; go on from the newest checkpoint, if any.

    Steps are counted from 1: update number s uses `batches(s)` and the rate `schedule(s)`. All that an update
    depends on is in the checkpoint or is a function of s, so on one machine a run that was stopped, or
    killed, and called again ends with the same bits as one that never was. With `max_seconds` the clock
    decides how many updates there are and, with `schedule_by="fraction"`, their rates: no two such runs are
    alike.

    Args:
        config: Limits and intervals.
        model: What is trained and saved.
        optimizer: Over the model's parameters; the rate of every group is set from the schedule.
        schedule: Rate of an update, as `lr_schedule` makes it.
        schedule_by: What the schedule is asked with: the update's number, from 1; or the share of the nearest
            limit that is past with it, up to 1.
        batches: Batch of a step: inputs and targets; asked for in a thread, a step ahead.
        loss: Mean nats a token of (inputs, targets) under the model; may be compiled, may use autocast.
        evaluate: Called without gradients and with the model in eval mode; told whether it is the last time,
            when it may look at more of the text.
        checkpoints: Where the run is saved and found again.
        sinks: Told every row; closed at the end, however it comes.
        stop: Looked at before every step.
        loss_scale: For float16; None: none.
        average: Of the weights; evaluations are then of the average.
        record_bad_step: Told every update that is left out.
        agree: Makes the numbers that decisions rest on the same in all processes: their mean. Gets tensors of
            the model's device and of the CPU.
        accumulating: See `accumulate`.
        world_size: Processes that share a step, each with as many windows.
        flops_per_token: Of an update, for the log's flops_per_second and mfu.
        peak_flops_per_second: Of the device, or of all devices, for the log's mfu.

    Raises:
        DivergedError: If loss or gradient norm are not finite more often than `max_skipped_steps` allows: the
            weights are those before the step. If the loss of an evaluation or a weight that is to be saved is
            not finite. In each case the last checkpoint stays the newest.
    """
    scale = loss_scale or LossScale.none()
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)

        def wait_for_save(kind: type[BaseException] | None, first: BaseException | None, _: object) -> None:
            if kind is KeyboardInterrupt:  # then the caller leaves at once; Python waits for the thread
                checkpoints.before_update()  # but for what the caller may change: milliseconds
                return
            try:
                checkpoints.wait()
            except Exception as error:
                if first is None:
                    raise
                first.add_note(f"a save has failed as well: {error}")  # which is in the log

        stack.push(wait_for_save)
        batch_of = stack.enter_context(prefetch(batches))
        progress, seconds_before = _restore(checkpoints, model, optimizer, average, scale)
        began = time.perf_counter() - seconds_before
        for sink in sinks:
            sink.start(progress.step)

        def agreed(number: float) -> float:
            return agree(torch.tensor([number], dtype=torch.float64)).item()

        def fraction(step: int, tokens: int) -> float:
            seconds = agreed(time.perf_counter() - began) if config.max_seconds is not None else 0.0
            return config.fraction(step=step, tokens=tokens, seconds=seconds)

        def look(*, last: bool) -> Evaluation:
            model.eval()
            with torch.no_grad(), average.in_place() if average else nullcontext():
                evaluation = evaluate(last)
            model.train()
            for sink in sinks:
                sink.evaluated(progress.step, evaluation)
            if not math.isfinite(evaluation.loss):
                msg = f"step {progress.step}: the loss of the evaluation is {evaluation.loss}"
                raise DivergedError(msg)
            return evaluation

        waited: float | None = None  # for the last save, if an update may still wait for it

        def save(metric: float | None) -> None:
            nonlocal waited
            check_weights(model, progress.step, agree)
            save_began = time.perf_counter()
            checkpoints.save(
                progress.step,
                model,
                optimizer,
                wallclock_seconds=time.perf_counter() - began,
                extra_tensors=average.tensors() if average else {},
                extra={"progress": progress.state(), "loss_scale": scale.state()},
                metric=metric,
                until_update=True,
            )
            waited = time.perf_counter() - save_began

        def before_update() -> None:
            nonlocal waited
            wait_began = time.perf_counter()
            checkpoints.before_update()
            if waited is not None:
                stall = waited + time.perf_counter() - wait_began
                logger.info(
                    "checkpoint of step %d: training stood still for %.3f seconds", progress.step, stall
                )
                waited = None

        evaluation: Evaluation | None = None
        metric: float | None = None
        saved_step = progress.step
        is_over = fraction(progress.step, progress.tokens) >= 1
        finished = is_over or progress.is_out_of_patience(config.patience)
        model.train()
        while not finished and not agreed(float(bool(stop and stop.signal))):
            step_began = time.perf_counter()
            step = progress.step + 1
            batch = batch_of(step)
            num_tokens = batch[1].numel() * world_size
            past = fraction(step, progress.tokens + num_tokens) if schedule_by == "fraction" else step
            lr = schedule(past)
            update = update_(
                batch,
                model=model,
                optimizer=optimizer,
                loss=loss,
                scale=scale,
                lr=lr,
                max_grad_norm=config.max_grad_norm,
                micro_batch_size=config.micro_batch_size,
                agree=agree,
                accumulating=accumulating,
                before=before_update,
            )
            if update.applied and average:
                average.update(step)
            progress.step, progress.tokens = step, progress.tokens + num_tokens
            if not update.applied and not update.overflowed:
                bad = BadStep(
                    step=step,
                    micro_losses=[float(part) for part in update.micro_losses],
                    micro_batch_size=config.micro_batch_size or len(batch[0]),
                    grad_norm=update.grad_norm,
                    lr=lr,
                )
                record_bad_step(bad)
                progress.skipped_steps += 1
                if progress.skipped_steps > config.max_skipped_steps:
                    raise DivergedError(str(bad))
            step_seconds = time.perf_counter() - step_began

            finished = fraction(step, progress.tokens) >= 1
            evaluation = metric = None
            is_best = False
            # The last evaluation may look at more of the text, so it is not compared with those before.
            if config.wants_best if finished else step % config.eval_interval_steps == 0:
                evaluation = look(last=False)
                metric = evaluation.loss
                is_best = progress.is_best(metric)
                finished = finished or progress.is_out_of_patience(config.patience)
            if finished:
                evaluation = look(last=True)
            if finished or evaluation or step % config.log_interval_steps == 0:
                tokens_per_second = num_tokens / step_seconds
                flops_per_second = flops_per_token and flops_per_token * tokens_per_second
                row = Row(
                    step=step,
                    train_loss=update.loss,
                    val_loss=evaluation.loss if evaluation else None,
                    lr=lr,
                    wallclock_time=round(time.perf_counter() - began, 3),
                    tokens_processed=progress.tokens,
                    grad_norm=update.grad_norm,
                    tokens_per_second=round(tokens_per_second, 1),
                    mfu=_utilization(flops_per_second, peak_flops_per_second),
                    bits_per_byte=evaluation.bits_per_byte if evaluation else None,
                    skipped_steps=progress.skipped_steps,
                    flops_per_second=flops_per_second and round(flops_per_second),
                )
                for sink in sinks:
                    sink.log(row)
            due = finished or step % config.checkpoint_interval_steps == 0
            if due or (is_best and config.keep_best):
                save(metric)
                saved_step = step
        if saved_step != progress.step:
            save(metric)
        before_update()
        checkpoints.wait()
        return Outcome(
            step=progress.step,
            finished=finished,
            wallclock_seconds=time.perf_counter() - began,
            evaluation=evaluation,
            progress=progress,
        )


def _restore(
    checkpoints: CheckpointStore,
    model: Module,
    optimizer: Optimizer,
    average: WeightAverage | None,
    scale: LossScale,
) -> tuple[Progress, float]:
    restored = checkpoints.restore(model, optimizer)
    if restored is None:
        return Progress(), 0.0
    if "progress" not in restored.extra:
        msg = f"{restored.path} was not saved by `train`: it does not say how many tokens were seen"
        raise ValueError(msg)
    if average:
        average.load(restored.extra_tensors)
    scale.load(restored.extra["loss_scale"])
    return Progress(**restored.extra["progress"]), restored.wallclock_seconds


def _utilization(flops_per_second: float | None, peak: float | None) -> float | None:
    return None if flops_per_second is None or peak is None else round(flops_per_second / peak, 4)
