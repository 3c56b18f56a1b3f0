"""Two tokenizers on two corpora: each trained on one, both measured on both."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hornbook.bpe import Tokenizer
from hornbook.trainer import atomic_file, made_directory, sha256_of_file

from .texts import Texts

BPE = (sys.executable, "-m", "hornbook.bpe")


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a tokenizer came to be."""

    corpus: str
    text_sha256: str
    text_bytes: int
    vocab_size: int  # asked for; a small text may give fewer
    seconds: float
    peak_bytes: int | None  # resident memory of the process; None where the system doesn't say


def train_tokenizer(texts: Texts, vocab_size: int, directory: Path) -> tuple[Path, Training]:
    """Train on a corpus, or find it done by an earlier call.

    In a process of its own, so that its memory can be told from ours.

    Args:
        texts: The corpus; its training text is used.
        vocab_size: Tokens in all.
        directory: Of all tokenizers; each has a subdirectory.

    Returns:
        The tokenizer's directory and how it was made.

    Raises:
        ValueError: If the text can't be trained on.
    """
    place = directory / f"{texts.slug}-{vocab_size}"
    note, digest = place.with_name(f"{place.name}.json"), sha256_of_file(texts.train)
    if note.exists() and place.exists():
        made = Training(**json.loads(note.read_bytes()))
        if made.text_sha256 == digest:
            return place, made
        msg = (
            f"{place} was trained on another text than {texts.train} is now: give another --out, or remove it"
        )
        raise ValueError(msg)
    with made_directory(directory):
        began = time.perf_counter()
        command = [*BPE, "train", str(texts.train), f"--vocab-size={vocab_size}", f"--out={place}"]
        with subprocess.Popen(command) as process:
            peak_bytes = _wait(process)
        if process.returncode:
            msg = f"no tokenizer of {vocab_size:,} tokens could be trained on {texts.train}"
            raise ValueError(msg)
        made = Training(
            corpus=texts.name,
            text_sha256=digest,
            text_bytes=texts.train.stat().st_size,
            vocab_size=vocab_size,
            seconds=round(time.perf_counter() - began, 2),
            peak_bytes=peak_bytes,
        )
        with atomic_file(note) as file:
            file.write(json.dumps(asdict(made), indent=2).encode() + b"\n")
    return place, made


def measure(
    tokenizers: Sequence[Path], texts: Sequence[Path], *, num_documents: int, seed: int
) -> dict[str, Any]:
    """Measure every tokenizer on every text, as `python -m hornbook.bpe stats --json` does.

    Raises:
        ValueError: If a text or tokenizer can't be read.
    """
    words = [f"--tokenizer={path}" for path in tokenizers]
    words += [f"--documents={num_documents}", f"--seed={seed}", "--json"]
    done = subprocess.run([*BPE, "stats", *map(str, texts), *words], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        msg = f"{', '.join(map(str, texts))} could not be measured"
        raise ValueError(msg)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def first_document(path: Path, tokenizers: Sequence[Path], num_tokens: int = 24) -> list[list[str]]:
    """Return how each tokenizer cuts the beginning of a text.

    Args:
        path: The text.
        tokenizers: Their directories.
        num_tokens: How many tokens are shown.
    """
    with path.open("rb") as file:
        text = file.read(2000).decode("utf-8", errors="ignore").strip()
    shown = []
    for directory in tokenizers:
        tokenizer = Tokenizer.load(directory)
        shown.append([tokenizer.decode([token]) for token in tokenizer.encode(text)[:num_tokens]])
    return shown


def _wait(process: "subprocess.Popen[bytes]") -> int | None:
    """Wait for a process; return the most memory it was seen to have, in bytes, if the system tells.

    Not its ru_maxrss: that begins with what the process had that started it.
    """
    status, peak_bytes = Path(f"/proc/{process.pid}/status"), None
    while process.poll() is None:
        with suppress(OSError):
            peak = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
            peak_bytes = int(peak[1]) * 1024 if peak else peak_bytes
        time.sleep(0.01)
    return peak_bytes
