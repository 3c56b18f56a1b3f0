"""One run from flags to story: check, prepare, train, finish."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hornbook.accounting import num_parameters
from hornbook.trainer import (
    World,
    allow_tf32,
    check_configuration,
    joined_world,
    recorded_configuration,
    run_directory,
)

from .about import about
from .console import say
from .describe import describe
from .device import check_compile, choose_device
from .experiment import Experiment
from .finish import finished_results, show
from .flags import TrainFlags
from .memory import check_memory
from .prepare import open_prepared, prepare
from .processes import choose_parallel
from .recorded import model_shape
from .resume import as_recorded, configuration_of, default_out
from .room import check_free_bytes
from .texts import choose_texts, provide_checked
from .training import train_experiment


def run(flags: TrainFlags) -> int:
    """Do what the flags say; the parts of it are the modules imported above.

    Raises:
        ValueError: On anything in the flags, the texts or the run's directory that can't be used.
        OSError: If a disk is full or can't be written.
        DivergedError: If the loss is no longer finite.
    """
    with joined_world(choose_device(flags.device)) as world, ExitStack() as held:
        if allow_tf32(world.device):
            say("float32 matrix products use TF32")
        begun = world.on_main(lambda: _begin(flags, world, held))
        if begun is None:
            return 0
        data = open_prepared(Path(begun["data"]))
        shape = model_shape(flags.experiment.model, data.tokenizer)
        return train_experiment(
            replace(flags.experiment, model=shape),
            data,
            world,
            flags.parallel,
            Path(begun["directory"]),
            begun["text"],
            begun["valid_text"],
            flags.sinks,
        )


def _begin(flags: TrainFlags, world: World, held: ExitStack) -> dict[str, str] | None:
    """Do what comes before training, on rank 0: check, take the run's directory, prepare the data.

    Args:
        flags: What was asked for.
        world: The processes; the others wait.
        held: Takes the run's directory, which is held until the end.

    Returns:
        The run's directory, the prepared data and the texts' names; None if there is nothing to train.
    """
    device, experiment = world.device, flags.experiment
    world.share_of(experiment.batch_size, name="--batch-size")  # or it can't be shared
    check_compile(experiment, device)
    texts = choose_texts(flags.texts)
    say(f"text: {texts.name}")
    say(f"preset: {flags.preset} on {device}" + ("" if flags.device else " (chosen by device; see --help)"))
    if world.size > 1:
        how = choose_parallel(flags.parallel, experiment, world)
        say(f"processes: {world.size}, {how}, {world.share_of(experiment.batch_size)} windows a step each")
    if flags.dry_run:
        describe(experiment, device, world.size)
        return None

    if choose_parallel(flags.parallel, experiment, world) != "fsdp":  # there each holds a part of the model
        check_memory(experiment, device, world.size)
    if flags.out is not None:  # before minutes go into a download
        recorded_configuration(flags.out)
    context_length = experiment.model.context_length
    digests = provide_checked(texts, context_length)
    configuration = configuration_of(experiment, texts, digests)
    out = flags.out or default_out(texts, flags.preset, configuration)
    configuration = as_recorded(configuration, out, device.type)
    results = finished_results(out) if check_configuration(out, configuration) else None
    if results is not None:
        say(f"this run is finished: {out}")
        show(out, results)
        return None
    check_room(out, experiment)
    directory = held.enter_context(run_directory(out, configuration, about=about(device)))
    data = prepare(
        texts,
        **digests,
        vocab_size=experiment.model.vocab_size,
        context_length=context_length,
        cache=flags.texts.data_dir / "cache",
    )
    vocab_size = data.tokenizer.vocab_size
    fewer = vocab_size != experiment.model.vocab_size
    say(
        f"tokens: {data.train.num_tokens:,} to train on, {data.valid.num_tokens:,} held out, "
        f"vocabulary of {vocab_size:,}"
        + (": this text gives no more, and the model takes as many" if fewer else "")
    )
    return {
        "directory": str(directory),
        "data": str(data.entry),
        "text": texts.name,
        "valid_text": texts.valid_name,
    }


def check_room(out: Path, experiment: Experiment) -> None:
    """Refuse a disk that can't take the run's checkpoints, before anything is written.

    Raises:
        OSError: Naming the bytes needed and the bytes free.
    """
    # Weights, two moments and the average, if there is one, in float32.
    checkpoint = (3 + (experiment.ema_decay is not None)) * 4 * num_parameters(experiment.model)
    # The last two are kept, and the best if it is asked for, while one more is written.
    needed = (3 + experiment.loop.keep_best) * checkpoint
    # Those that are there make room for the next ones.
    there = sum(file.stat().st_size for file in (out / "checkpoints").glob("step-*/*"))
    needed -= min(there, needed - checkpoint)
    check_free_bytes(out, needed, "checkpoints", "choose another --out")
