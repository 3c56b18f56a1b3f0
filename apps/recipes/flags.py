"""Command lines: a preset, and a typed flag for every field of it."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from .command_line import read_flags
from .experiment import PRESETS, Experiment, PresetName
from .machine import likely_device, why_no_compile_on_cpu
from .prepare import check_vocab_size
from .sinks import SinkFlags
from .texts import TextFlags, check_text, choose_texts

ParallelFlag = Literal["auto", "ddp", "fsdp"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainFlags:
    """What one call of a training app was asked for."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    texts: Annotated[TextFlags, tyro.conf.arg(name="")]
    sinks: Annotated[SinkFlags, tyro.conf.arg(name="")] = field(default_factory=SinkFlags)
    preset: PresetName
    """Where the settings come from that no flag gives; by default gpu on CUDA and demo elsewhere."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps …; the best there is, if not given."""
    parallel: ParallelFlag = "auto"
    """Of many processes (torchrun): ddp, each has the whole model; fsdp, each has a shard of it, for models
    that do not fit; auto: fsdp if weights, gradients and moments would fill most of a GPU."""
    out: Path | None = None
    """Directory of the run; by default runs/ and a name made of the text, the preset and the settings."""
    dry_run: bool = False
    """Print the settings, the size and the predicted time, and stop."""


FlagsT = TypeVar("FlagsT", bound=TrainFlags)


def parse_train_flags(description: str, arguments: Sequence[str]) -> TrainFlags:
    """Read the command line of a training app: see `parse_flags`."""
    return parse_flags(TrainFlags, description, arguments)


def parse_flags(
    kind: type[FlagsT],
    description: str,
    arguments: Sequence[str],
    presets: Mapping[str, Callable[[], Experiment]] = PRESETS,
) -> FlagsT:
    """Read a command line; the preset's values are the defaults that --help shows.

    torch is not imported before the words are known to be right: it takes seconds. Where a GPU may be, on
    which the defaults hang, they are then read again.

    Args:
        kind: The flags of the app: `TrainFlags`, or more.
        description: What the app does, with examples; the head of --help.
        arguments: The words after the program's name.
        presets: Where the defaults come from.

    Raises:
        SystemExit: With code 2 on a flag that is unknown (the nearest is named) or ill-typed; 0 after --help.
        ValueError: If the device or a text is not there, the vocabulary has no room for the bytes, or another
            flag asks for what there is not.
    """
    # The preset comes first, because it decides the defaults of all the other flags.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", choices=tuple(PRESETS))
    first.add_argument("--device")
    first.add_argument("--vocab-size", type=int)
    try:
        known, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError:  # tyro will say it better
        known = argparse.Namespace(preset=None, device=None, vocab_size=None)
    if known.vocab_size is not None:  # one line for every size below the bytes, 0 and -1 too
        check_vocab_size(known.vocab_size)

    def read(preset: PresetName, experiment: Experiment) -> FlagsT:
        flags = read_flags(
            kind,
            description,
            arguments,
            default=kind(experiment=experiment, texts=TextFlags(), preset=preset),
            config=(tyro.conf.OmitArgPrefixes,),
        )
        _check(flags)
        return flags

    def preset_for(device_type: str) -> PresetName:
        return known.preset or ("gpu" if device_type == "cuda" else "demo")

    likely = likely_device(known.device)
    preset = preset_for(likely)
    experiment = presets[preset]()
    if likely == "cpu":
        compiles = experiment.compile and why_no_compile_on_cpu() is None
        return read(preset, replace(experiment, compile=compiles))
    if not {"-h", "--help"} & set(arguments):
        read(preset, experiment)
    from .device import choose_device, fit

    device = choose_device(known.device)
    preset = preset_for(device.type)
    return read(preset, fit(presets[preset](), device))


def _check(flags: TrainFlags) -> None:
    """Refuse what would fail as soon as torch is there, before that."""
    texts = choose_texts(flags.texts)
    if texts.source == "own":
        for path, flag in ((texts.train, "--train-text"), (texts.valid, "--valid-text")):
            check_text(path, flag, flags.experiment.model.context_length)
    flags.sinks.check()
    if flags.parallel == "fsdp" and os.environ.get("WORLD_SIZE", "1") == "1":
        msg = "--parallel fsdp needs several processes: torchrun --nproc-per-node 2 apps/train_ts.py …"
        raise ValueError(msg)
