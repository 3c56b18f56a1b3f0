"""Files cut short, and single bits flipped, in a checkpoint and in a token file."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hornbook.trainer import Checkpoints, open_token_file, write_token_file
from tiny_run import Bigram, adamw

FILES = ("model.safetensors", "training.safetensors", "extra.safetensors", "state.json", "manifest.json")
CUTS, FLIPS = 20, 200


def damaged(raw: bytes, seed: str) -> Iterator[bytes]:
    """The bytes cut at 20 places, then each of 200 with another bit flipped."""
    generator = random.Random(seed)
    for number in range(CUTS):
        yield raw[: len(raw) * number // CUTS]
    for _ in range(FLIPS):
        changed = bytearray(raw)
        changed[generator.randrange(len(raw))] ^= 1 << generator.randrange(8)
        yield bytes(changed)


@pytest.mark.parametrize("name", FILES)
def test_any_damage_to_a_checkpoint_is_found_and_named_and_the_one_before_is_used(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, figure: Callable[[str], None]
) -> None:
    model = Bigram()
    optimizer = adamw(model)
    for parameter in model.parameters():
        parameter.grad = parameter.detach() + 1
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        optimizer.step()
        path = checkpoints.save(step, model, optimizer, wallclock_seconds=0.0) / name
    raw = path.read_bytes()
    found = 0
    for damage in damaged(raw, name):
        path.write_bytes(damage)
        caplog.clear()
        restored = checkpoints.restore(model, optimizer)
        assert restored is not None
        assert restored.step == 1
        # A changed digest in a manifest can't be told from a changed file: then the file is named.
        assert str(path.parent if name == "manifest.json" else path) in caplog.text
        found += 1
    path.write_bytes(raw)
    restored = checkpoints.restore(model, optimizer)
    assert restored is not None
    assert restored.step == 2
    figure(f"{CUTS} cuts and {FLIPS} flipped bits in {name}: {found} of {CUTS + FLIPS} found and named")


@pytest.mark.parametrize("name", ["t.bin", "t.bin.json", "t.bin.documents"])
def test_any_damage_to_a_token_file_is_found_and_named(
    name: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    write_token_file(
        tmp_path / "t.bin", [np.arange(3000) % 300], vocab_size=300, tokenizer="0123abcd", text="4567cdef"
    )
    # As hornbook.bpe adds them: where each document begins.
    places = np.arange(0, 3000, 30).astype("<u8").tobytes()
    (tmp_path / "t.bin.documents").write_bytes(places)
    manifest = json.loads((tmp_path / "t.bin.json").read_bytes())
    described = {"end": "<|endoftext|>", "count": 100, "sha256": hashlib.sha256(places).hexdigest()}
    (tmp_path / "t.bin.json").write_text(json.dumps(manifest | {"documents": described}, indent=2))
    expected: dict[str, Any] = {"vocab_size": 300, "tokenizer": "0123abcd", "text": "4567cdef"}
    expected["document_end"] = "<|endoftext|>"
    open_token_file(tmp_path / "t.bin", **expected)
    raw = (tmp_path / name).read_bytes()
    found = 0
    named = "t.bin.documents" if name == "t.bin.documents" else "t.bin"
    for damage in damaged(raw, name):
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(ValueError, match=str(tmp_path / named)):
            open_token_file(tmp_path / "t.bin", **expected)
        found += 1
    figure(f"{CUTS} cuts and {FLIPS} flipped bits in {name}: {found} of {CUTS + FLIPS} found and named")
