"""Runs for the tests of the report, written by hand in no time."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from hornbook.trainer import COLUMNS

HOSTILE = (
    '</script><script>window.owned = 1</script><img src=x onerror="window.owned = 1">\'"><b onmouseover=x>'
    "<!-- $title ${style} \u2028 ]]> &lt;i&gt; javascript:alert(1) <svg/onload=window.owned=1> </pre>"
)
MODEL = {"vocab_size": 300, "context_length": 16, "num_layers": 1, "d_model": 16, "num_heads": 2, "d_ff": 32}


def write_outcomes(directory: Path, summary: str = "", **statuses: str) -> None:
    """Write what a sweep says of its runs, and what they have shown."""
    if summary:
        (directory / "summary.md").write_text(summary, encoding="utf-8")
    (directory / "outcomes.json").write_text(
        json.dumps({name: {"status": status} for name, status in statuses.items()})
    )


def write_run(
    directory: Path,
    *,
    text: str = "stories",
    lr: float = 1e-3,
    losses: Sequence[float] | None = None,
    val_loss: float = 2.5,
    diverged: bool = False,
    ended: bool = True,
) -> Path:
    """Write the directory of a run of 40 steps, or as many as there are losses."""
    directory.mkdir(parents=True)
    if losses is None:
        losses = [2 + 4 * math.exp(-step / (10_000 * lr)) for step in range(40)]
    experiment = {
        "model": MODEL,
        "optimizer": {"max_lr": lr, "betas": [0.9, 0.95]},
        "loop": {"num_steps": len(losses)},
        "note": text,
    }
    run = {"experiment": experiment, "text": {"name": text}}
    about = {"torch": "2.0", "command": ["train.py", text], text: text}
    (directory / "config.json").write_text(json.dumps({"run": run, "about": about}))
    rows = [",".join(COLUMNS)]
    for step, loss in enumerate(losses, start=1):
        measured = (loss + 0.1, loss / 3) if step % 10 == 0 else ("", "")
        numbers = {"step": step, "train_loss": loss, "val_loss": measured[0], "bits_per_byte": measured[1]}
        numbers |= {"lr": lr * min(1, step / 10), "wallclock_time": step * 0.5, "grad_norm": 1 / step}
        numbers |= {"tokens_processed": step * 64, "tokens_per_second": 128 + step % 3}
        rows.append(",".join(str(numbers.get(name, "")) for name in COLUMNS))
    (directory / "metrics.csv").write_text("\n".join(rows) + "\n")
    results = {"val_loss": val_loss, "perplexity": math.exp(val_loss), "bits_per_byte": 1.0, "sample": text}
    if diverged:
        (directory / "bad_steps.jsonl").write_text('{"step": 41}\n')
    elif ended:
        (directory / "results.json").write_text(json.dumps(results))
    (directory / "samples.txt").write_text(f"temperature 0.8\n\n---\n\n{text}\n")
    return directory
