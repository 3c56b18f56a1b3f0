"""One run from flags to story: check, prepare, train, finish."""

import hashlib
import json
import platform
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hornbook.accounting import num_parameters, training_flops
from hornbook.nn import TransformerLM
from hornbook.optim import decay_groups
from hornbook.trainer import (
    Checkpoints,
    CsvSink,
    Evaluation,
    check_configuration,
    evaluate,
    random_windows,
    recorded_configuration,
    run_directory,
    stop_on_signals,
    train,
)

from .console import ConsoleSink, say
from .describe import describe
from .device import allow_fast_matmul, choose_device, why_no_compile
from .experiment import Experiment
from .finish import finish, is_finished, show
from .flags import TrainFlags
from .prepare import PreparedData, prepare
from .texts import Texts, check_text, choose_texts, fingerprints, provide
from .trained import model_shape


def run(flags: TrainFlags) -> int:
    """Do what the flags say; the parts of it are the modules imported above.

    Raises:
        ValueError: On anything in the flags, the texts or the run's directory that can't be used.
        OSError: If a disk is full or can't be written.
        DivergedError: If the loss is no longer finite.
    """
    device = choose_device(flags.device)
    experiment = flags.experiment
    if experiment.compile and (reason := why_no_compile(device)):
        msg = f"--compile can't be used: {reason}; give --no-compile"
        raise ValueError(msg)
    texts = choose_texts(flags.texts)
    say(f"text: {texts.name}")
    say(f"preset: {flags.preset} on {device}" + ("" if flags.device else " (chosen by device; see --help)"))
    allow_fast_matmul(device)
    if flags.dry_run:
        describe(experiment, device)
        return 0

    if flags.out is not None:  # before minutes go into a download
        recorded_configuration(flags.out)
    provide(texts)
    context_length = experiment.model.context_length
    check_text(texts.train, "--train-text", context_length)
    check_text(texts.valid, "--valid-text", context_length)
    digests = fingerprints(texts)
    configuration = {"experiment": asdict(experiment), "text": {"name": texts.name, **digests}}
    out = flags.out or default_out(texts, flags.preset, configuration)
    if check_configuration(out, configuration) and is_finished(out):
        say(f"this run is finished: {out}")
        show(out)
        return 0
    check_room(out, experiment)
    with run_directory(out, configuration, about=_about(device)) as directory:
        data = prepare(
            texts,
            **digests,
            vocab_size=experiment.model.vocab_size,
            context_length=context_length,
            cache=flags.texts.data_dir / "cache",
        )
        shape = model_shape(experiment.model, data.tokenizer)
        say(
            f"tokens: {data.train.num_tokens:,} to train on, {data.valid.num_tokens:,} held out, "
            f"vocabulary of {shape.vocab_size:,}"
            + ("" if shape == experiment.model else ": this text gives no more, and the model takes as many")
        )
        return _train(replace(experiment, model=shape), data, device, directory, texts.name)


def check_room(out: Path, experiment: Experiment) -> None:
    """Refuse a disk that can't take the run's checkpoints, before anything is written.

    Raises:
        OSError: Naming the bytes needed and the bytes free.
    """
    # Weights and two moments in float32; two checkpoints are kept while a third is written.
    needed = 3 * 3 * 4 * num_parameters(experiment.model)
    existing = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(existing)
    free = usage.free
    if free < needed and usage.total:  # a total of 0 is no disk: what is wrong there shows when it is written
        msg = (
            f"no room for checkpoints in {out}: {needed:,} bytes needed, {free:,} free; choose another --out"
        )
        raise OSError(msg)


def default_out(texts: Texts, preset: str, configuration: dict[str, Any]) -> Path:
    """Return the directory that belongs to these settings: the same command finds its run again."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / f"{texts.slug}-{preset}-{digest}"


def _train(
    experiment: Experiment, data: PreparedData, device: torch.device, directory: Path, text_name: str
) -> int:
    torch.manual_seed(experiment.seed)
    model = TransformerLM(experiment.model, device=device)
    describe(experiment, device)
    optimizer = experiment.optimizer.over(decay_groups(model, experiment.optimizer.weight_decay))
    data.tokenizer.save(directory / "tokenizer")
    checkpoints = Checkpoints(directory / "checkpoints")

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=experiment.precision == "bf16"):
            return model.loss(inputs, targets)

    def validate(*, last: bool) -> Evaluation:
        return evaluate(
            loss,
            data.valid.tokens,
            batch_size=experiment.batch_size,
            context_length=experiment.model.context_length,
            token_num_bytes=data.tokenizer.token_num_bytes,
            device=device,
            max_windows=experiment.final_eval_windows if last else experiment.eval_windows,
        )

    with stop_on_signals() as stop:
        outcome = train(
            experiment.loop,
            model=model,
            optimizer=optimizer,
            schedule=experiment.schedule(),
            batches=random_windows(
                data.train.tokens,
                batch_size=experiment.batch_size,
                context_length=experiment.model.context_length,
                device=device,
                seed=experiment.seed,
            ),
            loss=torch.compile(loss, dynamic=False) if experiment.compile else loss,
            evaluate=lambda step: validate(last=step == experiment.loop.num_steps),
            checkpoints=checkpoints,
            sinks=[CsvSink(directory / "metrics.csv"), ConsoleSink(experiment.loop.num_steps)],
            stop=stop,
        )
    if not outcome.finished:
        say(f"stopped at step {outcome.step:,} of {experiment.loop.num_steps:,}, saved in {directory}")
        say("to go on, give the same command again")
        return stop.exit_code
    finish(
        directory,
        text_name=text_name,
        device=device,
        evaluation=outcome.evaluation or validate(last=True),
        outcome=outcome,
        flops=training_flops(experiment.model, batch_size=experiment.batch_size) * experiment.loop.num_steps,
        seed=experiment.seed,
    )
    show(directory)
    return 0


def _about(device: torch.device) -> dict[str, Any]:
    """What a reader of the run may want to know of where it began."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{device} ({name})",
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "command": sys.argv,
    }
