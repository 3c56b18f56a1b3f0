"""What a reader of a run may want to know of where it was made, and no update depends on."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def about(device: torch.device) -> dict[str, Any]:
    """Return versions, commit, machine and command line."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "hornbook": version("hornbook-trainer"),
        "commit": git_commit(Path(__file__).parent),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{device} ({name})",
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "command": sys.argv,
    }


def git_commit(directory: Path) -> str | None:
    """Return the commit that a directory is at, with "+" if files differ from it; None outside a git tree."""
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(directory), *words], capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no tree of it
        return None
    return commit + ("+" if changed else "")
