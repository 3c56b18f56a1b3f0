"""The end of a run: the numbers, a story, the curve."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hornbook.trainer import (
    Checkpoints,
    CheckpointVersionError,
    Evaluation,
    Outcome,
    atomic_file,
    verify_checkpoint,
)

from .console import printable, say
from .describe import duration
from .sampling import TextOptions, stream_samples
from .trained import load_run

_RESULTS = "results.json"
_OPTIONS, _NUM_SAMPLES = TextOptions(), 3


def finish(
    directory: Path,
    *,
    text_name: str,
    valid_text_name: str,
    device: torch.device,
    evaluation: Evaluation,
    outcome: Outcome,
    flops: int,
    seed: int,
) -> dict[str, Any]:
    """Write what came out: samples.txt, curve.png, curve.svg and, when these are there, results.json.

    Returns:
        What is in results.json.
    """
    trained = load_run(directory, device)
    samples = [""] * _NUM_SAMPLES
    for number, piece in stream_samples(trained, [""] * _NUM_SAMPLES, replace(_OPTIONS, seed=seed)):
        samples[number] += piece
    samples = [sample.strip() for sample in samples]
    sampling = _OPTIONS.sampling
    heading = (
        f"temperature {sampling.temperature}, top-p {sampling.top_p}, "
        f"at most {_OPTIONS.max_tokens} tokens, trained on {text_name}"
    )
    _write(directory / "samples.txt", "\n\n---\n\n".join([heading, *samples]))
    title = (
        f"{text_name}: {evaluation.loss:.3f} nats per token, {evaluation.bits_per_byte:.3f} bits per byte "
        f"after {outcome.step:,} steps"
    )
    from .curve import draw_curve  # here: matplotlib takes a second to import, and most commands draw nothing

    draw_curve(directory / "metrics.csv", directory, title)
    results = {
        "text": text_name,
        "valid_text": valid_text_name,
        "steps": outcome.step,
        "val_loss": evaluation.loss,
        "perplexity": evaluation.perplexity,
        "bits_per_byte": evaluation.bits_per_byte,
        "val_tokens": evaluation.num_tokens,
        "val_windows": evaluation.num_windows,
        "val_windows_in_all": evaluation.num_windows_in_all,
        "wallclock_seconds": round(outcome.wallclock_seconds, 1),
        "training_flops": flops,
        "sample": samples[0],
    }
    _write(directory / _RESULTS, json.dumps(results, indent=2))
    return results


def finished_results(directory: Path) -> dict[str, Any] | None:
    """Return the results of a run that is at its end, None of one that is not.

    One whose results or last checkpoint are not what was written is not at its end; this is said.
    """
    if not (directory / _RESULTS).is_file():
        return None
    checkpoints = Checkpoints(directory / "checkpoints")
    try:
        results: dict[str, Any] = json.loads((directory / _RESULTS).read_bytes())
        _lines(directory, results)
        if checkpoints.paths():  # else they were taken away, to keep the results alone
            verify_checkpoint(checkpoints.path_of(results["steps"]))
    except CheckpointVersionError as error:  # nothing is lost: only this hornbook can't read it
        say(str(error))
    except (ValueError, KeyError, TypeError) as error:  # a CheckpointError is a ValueError
        say(f"this run was finished, but not all of it is as it was written: {error}")
        return None
    return results


def show(directory: Path, results: dict[str, Any]) -> None:
    """Print the results of a finished run: the loss, a story, where the rest is."""
    for line in _lines(directory, results):
        say(line)


def _lines(directory: Path, results: dict[str, Any]) -> list[str]:
    seconds = results["wallclock_seconds"]
    return [
        "",
        (
            f"validation loss {results['val_loss']:.4f} nats per token, "
            f"perplexity {results['perplexity']:.2f}, "
            f"{results['bits_per_byte']:.4f} bits per byte"
        ),
        (
            f"on {results['val_tokens']:,} held-out tokens of {results['valid_text']} "
            f"({results['val_windows']:,} of {results['val_windows_in_all']:,} windows)"
        ),
        f"trained for {duration(seconds)}, {results['training_flops'] / max(seconds, 0.1) / 1e9:.1f} GFLOP/s",
        "",
        printable(results["sample"]),
        "",
        f"learning curve: {directory / 'curve.png'}",
        f'more stories: uv run apps/generate.py --run {directory} --prompt "Once upon a time"',
    ]


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")
