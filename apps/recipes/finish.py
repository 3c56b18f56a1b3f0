"""The end of a run: the numbers, a story, the curve."""

import json
from pathlib import Path

import torch

from hornbook.trainer import Evaluation, Outcome, atomic_file

from .console import printable, say
from .curve import draw_curve
from .describe import duration
from .sampling import Sampling, stream_text
from .trained import load_run

_SAMPLING, _NUM_SAMPLES = Sampling(), 3


def finish(
    directory: Path,
    *,
    text_name: str,
    device: torch.device,
    evaluation: Evaluation,
    outcome: Outcome,
    flops: int,
    seed: int,
) -> None:
    """Print and write what came out: results.json, samples.txt, curve.png, curve.svg."""
    results = {
        "text": text_name,
        "steps": outcome.step,
        "val_loss": evaluation.loss,
        "perplexity": evaluation.perplexity,
        "bits_per_byte": evaluation.bits_per_byte,
        "val_tokens": evaluation.num_tokens,
        "val_windows": [evaluation.num_windows, evaluation.num_windows_in_all],
        "wallclock_seconds": round(outcome.wallclock_seconds, 1),
        "training_flops": flops,
    }
    trained = load_run(directory, device)
    samples = [
        "".join(stream_text(trained, "", _SAMPLING, seed=seed + number)).strip()
        for number in range(_NUM_SAMPLES)
    ]
    heading = (
        f"temperature {_SAMPLING.temperature}, top-p {_SAMPLING.top_p}, "
        f"at most {_SAMPLING.max_tokens} tokens, trained on {text_name}"
    )
    _write(
        directory / "samples.txt", "\n\n".join([heading, *(f"--- {i}\n{s}" for i, s in enumerate(samples))])
    )
    _write(directory / "results.json", json.dumps(results, indent=2))
    title = (
        f"{text_name}: {evaluation.loss:.3f} nats per token, {evaluation.bits_per_byte:.3f} bits per byte "
        f"after {outcome.step:,} steps"
    )
    draw_curve(directory / "metrics.csv", directory, title)
    say()
    say(
        f"validation loss {evaluation.loss:.4f} nats per token, perplexity {evaluation.perplexity:.2f}, "
        f"{evaluation.bits_per_byte:.4f} bits per byte, on {evaluation.num_tokens:,} held-out tokens "
        f"of {text_name} ({evaluation.num_windows:,} of {evaluation.num_windows_in_all:,} windows)"
    )
    say(
        f"trained for {duration(outcome.wallclock_seconds)}, "
        f"{flops / outcome.wallclock_seconds / 1e9:.1f} GFLOP/s"
    )
    say()
    say(printable(samples[0]))
    say()
    say(f"learning curve: {directory / 'curve.png'}")
    say(f'more stories: uv run apps/generate.py --run {directory} --prompt "Once upon a time"')


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")
