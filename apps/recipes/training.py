"""The training of one experiment on prepared data: its parts, put together."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hornbook.accounting import training_flops
from hornbook.bpe import Tokenizer
from hornbook.nn import TransformerLM
from hornbook.trainer import (
    BadStep,
    BadStepFile,
    Checkpoints,
    Evaluation,
    LossScale,
    SharedCheckpoints,
    WeightAverage,
    WindowBatches,
    World,
    autocast,
    checkpoint_activations,
    compile_blocks,
    compiled,
    deterministic,
    epoch_windows,
    evaluate,
    parallelize,
    random_windows,
    recorded_configuration,
    seed_everything,
    stop_on_signals,
    train,
)

from .about import about
from .console import say
from .describe import describe
from .device import compile_cache, peak_flops_per_second
from .experiment import Experiment
from .finish import finish, show
from .flags import ParallelFlag
from .peak import recorded_peak, watch_memory
from .prepare import PreparedData
from .processes import choose_parallel
from .sinks import SinkFlags, make_sinks

_SHUFFLES = {"windows": random_windows, "epochs": epoch_windows}
_FILES_ONLY = SinkFlags()


def train_experiment(
    experiment: Experiment,
    data: PreparedData,
    world: World,
    parallel: ParallelFlag,
    directory: Path,
    text_name: str,
    valid_text_name: str,
    sink_flags: SinkFlags = _FILES_ONLY,
) -> int:
    """Train, or go on training, in a run's directory; finish it when it is at its end.

    Every process of the world calls this; the first one alone writes and prints.

    Returns:
        The exit code: 0, or that of the signal that stopped it.

    Raises:
        DivergedError: If loss, gradients or weights are no longer finite.
    """
    device = world.device
    how = choose_parallel(parallel, experiment, world)
    seed_everything(experiment.seed)
    most_bytes = watch_memory(device)
    model = TransformerLM(experiment.model, device=device)
    if experiment.activation_checkpointing:
        checkpoint_activations(model.layers)
    matmul_speed = describe(experiment, device, world.size)
    peak, _ = peak_flops_per_second(device, experiment.precision, matmul_speed)
    recorded = world.on_main(lambda: _record(data, directory))
    batches = make_batches(experiment, data, world)
    if experiment.compile and how == "fsdp":  # block by block, around which FSDP gathers
        compile_blocks(model.layers, cache=compile_cache())
    spread = parallelize(
        model, autocast(model.loss, device, experiment.precision), world, how, units=model.layers
    )
    loss = spread.loss

    def validate(last: bool) -> Evaluation:
        return evaluate(
            loss,
            data.valid.tokens,
            batch_size=experiment.loop.micro_batch_size or world.share_of(experiment.batch_size),
            context_length=experiment.model.context_length,
            token_num_bytes=data.tokenizer.token_num_bytes,
            device=device,
            max_windows=experiment.final_eval_windows if last else experiment.eval_windows,
            world=world,
        )

    def record(bad: BadStep) -> None:
        for rank, losses in enumerate(world.gather_json(list(bad.micro_losses))):
            if world.is_main:
                starts = replace(batches, rank=rank).starts
                BadStepFile(directory / "bad_steps.jsonl", starts)(replace(bad, micro_losses=losses))

    average = None if experiment.ema_decay is None else WeightAverage(model, experiment.ema_decay)
    flops = training_flops(experiment.model, batch_size=1) / experiment.model.context_length
    measured = recorded_peak(most_bytes, directory) if world.is_main else nullcontext()
    same_bits = deterministic(device) if experiment.deterministic else nullcontext()
    with same_bits, stop_on_signals() as stop, measured:
        outcome = train(
            experiment.loop,
            model=model,
            optimizer=experiment.optimizer.over(model),
            schedule=experiment.rate(),
            schedule_by="fraction" if experiment.by_fraction else "step",
            batches=batches,
            loss=compiled(loss, cache=compile_cache()) if experiment.compile and how != "fsdp" else loss,
            evaluate=validate,
            checkpoints=SharedCheckpoints(
                Checkpoints(
                    directory / "checkpoints",
                    keep_best=int(experiment.loop.keep_best),
                    asynchronous=True,
                    run=recorded,
                    about=about(device),
                ),
                world,
            ),
            sinks=make_sinks(sink_flags, directory, experiment.loop, recorded) if world.is_main else [],
            stop=stop,
            loss_scale=LossScale() if experiment.precision == "fp16" else None,
            average=average,
            record_bad_step=record,
            agree=world.mean,
            accumulating=spread.accumulating,
            world_size=world.size,
            flops_per_token=flops,
            peak_flops_per_second=peak * world.size,
        )
    if not outcome.finished:
        of = "" if experiment.planned_steps is None else f" of {experiment.planned_steps:,}"
        saved = f"saved in {directory}" if outcome.step else "there is nothing to save yet"
        say(f"stopped at step {outcome.step:,}{of}, {saved}")
        say("to go on, give the same command again")
        return int(max(world.gather_json(stop.exit_code)))  # not every process need have had the signal
    with torch.no_grad(), average.in_place() if average else nullcontext():
        evaluation = outcome.evaluation or validate(last=True)

    def end() -> None:
        results = finish(
            directory,
            text_name=text_name,
            valid_text_name=valid_text_name,
            device=torch.device("cpu") if how == "fsdp" else device,  # where a model fits that was in shards
            evaluation=evaluation,
            outcome=outcome,
            flops=round(flops * outcome.progress.tokens),
            seed=experiment.seed,
        )
        show(directory, results)

    world.on_main(end)
    return 0


def _record(data: PreparedData, directory: Path) -> dict[str, Any]:
    """Save the tokenizer with the run, and return all that the run depends on, for its checkpoints.

    Raises:
        ValueError: If the run has another tokenizer; both fingerprints are named.
    """
    saved, fingerprint = directory / "tokenizer", data.tokenizer.fingerprint
    if saved.exists() and (found := Tokenizer.load(saved).fingerprint) != fingerprint:
        msg = f"{saved} has the fingerprint {found}, this text's has {fingerprint}: choose another --out"
        raise ValueError(msg)
    data.tokenizer.save(saved)
    return {
        **recorded_configuration(directory),
        "tokenizer": fingerprint,
        "tokens": {"train": data.train.manifest.sha256, "valid": data.valid.manifest.sha256},
    }


def make_batches(experiment: Experiment, data: PreparedData, world: World) -> WindowBatches:
    """Return this process's part of the batches of a run: a pure function of its seed and the step."""
    return _SHUFFLES[experiment.shuffle](
        data.train.tokens,
        batch_size=experiment.batch_size,
        context_length=experiment.model.context_length,
        device=world.device,
        seed=experiment.seed,
        rank=world.rank,
        world_size=world.size,
    )
