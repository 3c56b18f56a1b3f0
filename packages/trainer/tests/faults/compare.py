"""Whether a run that something happened to ended as one that nothing happened to."""

import json
from pathlib import Path

from tiny_run import untimed_rows

LAST = "step-00000024"


def assert_same_end(run: Path, straight: Path) -> None:
    """Weights, optimizer, random generators and rows have the same bits, and no file lies around."""
    for name in ("model.safetensors", "training.safetensors", "extra.safetensors"):
        digests = [
            json.loads((directory / "checkpoints" / LAST / "manifest.json").read_bytes())[name]
            for directory in (run, straight)
        ]
        assert digests[0] == digests[1], name
    assert untimed_rows(run) == untimed_rows(straight)
    assert names_in(run) == names_in(straight)


def names_in(run: Path) -> set[str]:
    """Every file and directory, by its path in the run."""
    return {str(path.relative_to(run)) for path in run.rglob("*")}
