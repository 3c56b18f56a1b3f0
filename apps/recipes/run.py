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

from hornbook.accounting import num_parameters
from hornbook.trainer import allow_tf32, check_configuration, recorded_configuration, run_directory

from .console import say
from .describe import describe
from .device import choose_device, why_no_compile
from .experiment import Experiment
from .finish import is_finished, show
from .flags import TrainFlags
from .prepare import prepare
from .texts import Texts, check_text, choose_texts, fingerprints, provide
from .trained import model_shape
from .training import train_experiment


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
    allow_tf32(device)
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
        return train_experiment(replace(experiment, model=shape), data, device, directory, texts.name)


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
