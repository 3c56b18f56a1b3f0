"""OpenWebText: the presets of TinyStories with another vocabulary, and the two losses side by side."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .experiment import PRESETS, Experiment
from .flags import TrainFlags
from .markdown import table
from .report import find_runs, read_runs
from .report.runs import RunRecord
from .texts import Texts

# The assignment's size; the demo's own model would be nearly all vocabulary with it.
_VOCAB_SIZES = {"demo": 8192, "cpu": 32_000, "gpu": 32_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class OwtFlags(TrainFlags):
    """A training app's flags, and a run to compare with."""

    compare: Path | None = None
    """A finished run on TinyStories, to set the two losses side by side at the end."""


def _on_the_web(preset: Callable[[], Experiment], vocab_size: int) -> Callable[[], Experiment]:
    """Same architecture and steps, another vocabulary."""

    def experiment() -> Experiment:
        base = preset()
        return replace(base, model=replace(base.model, vocab_size=vocab_size))

    return experiment


OWT_PRESETS = {name: _on_the_web(preset, _VOCAB_SIZES[name]) for name, preset in PRESETS.items()}


def owt_out(flags: TrainFlags, texts: Texts) -> Path:
    """Return the run's directory: the one that is given, or that of these settings and texts."""
    key = json.dumps([flags.experiment.as_json(), str(texts.train), str(texts.valid)], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return flags.out or Path("runs") / f"{texts.slug}-{flags.preset}-{digest}"


def check_finished(run: Path) -> None:
    """Refuse a run to compare with that has no results, before anything is trained.

    Raises:
        ValueError: Naming it.
    """
    (record,) = read_runs(find_runs([run]))[:1]
    if not record.results:
        msg = f"--compare {run} is not finished: it has no results yet"
        raise ValueError(msg)


def compared(directories: Sequence[Path]) -> str:
    """Return the losses of finished runs on different texts as a table, and what they mean, in Markdown.

    Raises:
        ValueError: If one is not finished.
    """
    runs = read_runs(find_runs(directories))
    rows = []
    for run in runs:
        loss, bits = _losses(run)
        vocab_size = "-" if run.shape is None else f"{run.shape.vocab_size:,}"
        rows.append(
            [
                run.name,
                run.text,
                vocab_size,
                f"{loss:.4f}",
                f"{math.exp(loss):.2f}",
                f"{loss / math.log(2) / bits:.3f}",
                f"{bits:.4f}",
            ]
        )
    head = ["run", "text", "vocabulary", "nats per token", "perplexity", "bytes per token", "bits per byte"]
    return (
        f"{table(head, rows)}\n\n"
        "Nats per token do not compare: a larger vocabulary has longer tokens, of which each is harder to "
        "guess, and the loss is a mean over tokens. Bits per byte do, which are nats per token / ln 2 / "
        "bytes per token: they count the same bytes, however these are cut. What is left between two runs "
        "is the texts. Stories for small children have few words and few ways to go on; pages of the web "
        "have names, numbers, quotations and every subject there is, of which a small model can learn "
        "little more than the grammar: its loss stays higher, and its samples lose their thread sooner.\n"
    )


def _losses(run: RunRecord) -> tuple[float, float]:
    loss, bits = run.results.get("val_loss"), run.results.get("bits_per_byte")
    if not isinstance(loss, float) or not isinstance(bits, float) or bits <= 0:
        msg = f"{run.directory} is not finished: it has no results yet"
        raise ValueError(msg)
    return loss, bits
