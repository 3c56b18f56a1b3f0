"""The training of one experiment on prepared data: its parts, put together."""

from pathlib import Path

import torch

from hornbook.accounting import training_flops
from hornbook.nn import TransformerLM
from hornbook.trainer import (
    BadStepFile,
    Checkpoints,
    CsvSink,
    Evaluation,
    LossScale,
    WeightAverage,
    WindowBatches,
    autocast,
    epoch_windows,
    evaluate,
    random_windows,
    seed_everything,
    stop_on_signals,
    train,
)

from .console import ConsoleSink, say
from .describe import describe
from .experiment import Experiment
from .finish import finish, show
from .prepare import PreparedData

_SHUFFLES = {"windows": random_windows, "epochs": epoch_windows}


def train_experiment(
    experiment: Experiment, data: PreparedData, device: torch.device, directory: Path, text_name: str
) -> int:
    """Train, or go on training, in a run's directory; finish it when it is at its end.

    Returns:
        The exit code: 0, or that of the signal that stopped it.

    Raises:
        DivergedError: If loss, gradients or weights are no longer finite.
    """
    seed_everything(experiment.seed)
    model = TransformerLM(experiment.model, device=device)
    matmul_speed = describe(experiment, device)
    data.tokenizer.save(directory / "tokenizer")
    loss = autocast(model.loss, device, experiment.precision)
    batches = make_batches(experiment, data, device)

    def validate(last: bool) -> Evaluation:
        return evaluate(
            loss,
            data.valid.tokens,
            batch_size=experiment.loop.micro_batch_size or experiment.batch_size,
            context_length=experiment.model.context_length,
            token_num_bytes=data.tokenizer.token_num_bytes,
            device=device,
            max_windows=experiment.final_eval_windows if last else experiment.eval_windows,
        )

    flops = training_flops(experiment.model, batch_size=1) / experiment.model.context_length
    with stop_on_signals() as stop:
        outcome = train(
            experiment.loop,
            model=model,
            optimizer=experiment.optimizer.over(model),
            schedule=experiment.rate(),
            schedule_by="fraction" if experiment.by_fraction else "step",
            batches=batches,
            loss=torch.compile(loss, dynamic=False) if experiment.compile else loss,
            evaluate=validate,
            checkpoints=Checkpoints(directory / "checkpoints"),
            sinks=[CsvSink(directory / "metrics.csv"), ConsoleSink(experiment.loop)],
            stop=stop,
            loss_scale=LossScale() if experiment.precision == "fp16" else None,
            average=None if experiment.ema_decay is None else WeightAverage(model, experiment.ema_decay),
            record_bad_step=BadStepFile(directory / "bad_steps.jsonl", batches.starts),
            flops_per_token=flops,
            peak_flops_per_second=matmul_speed,
        )
    if not outcome.finished:
        of = "" if experiment.planned_steps is None else f" of {experiment.planned_steps:,}"
        say(f"stopped at step {outcome.step:,}{of}, saved in {directory}")
        say("to go on, give the same command again")
        return stop.exit_code
    finish(
        directory,
        text_name=text_name,
        device=device,
        evaluation=outcome.evaluation or validate(last=True),
        outcome=outcome,
        flops=round(flops * outcome.progress.tokens),
        seed=experiment.seed,
    )
    show(directory)
    return 0


def make_batches(experiment: Experiment, data: PreparedData, device: torch.device) -> WindowBatches:
    """Return the batches of a run: a pure function of its seed and the step."""
    return _SHUFFLES[experiment.shuffle](
        data.train.tokens,
        batch_size=experiment.batch_size,
        context_length=experiment.model.context_length,
        device=device,
        seed=experiment.seed,
    )
