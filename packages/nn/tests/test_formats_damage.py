"""load_model: every kind of damage is refused by name, before anything is made."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hornbook.nn import TransformerLM
from hornbook.nn.formats import directory as own_form
from hornbook.nn.formats import load_model, save_model
from saved_models import TINY, edit, set_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    save_model(TransformerLM(TINY), path)
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model, of which no tensor may be read and none made."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(own_form, "model_from", fail)
    return Path(shutil.copytree(saved, tmp_path / "copy"))


CONFIG_DAMAGE = {
    "later version": ({"version": 2}, r"version must be 1, got 2: a later hornbook wrote it"),
    "other format": ({"format": None}, r"format must be 'hornbook\.nn', got None: .* load_huggingface reads"),
    "unknown name": ({"author": "me"}, r"author is unknown, got 'me': if a later hornbook wrote it, update"),
    "unknown dtype": ({"dtype": "int4"}, r"dtype must be one of float64, .*, got 'int4'"),
    "weights": ({"weights": {"sha256": ""}}, r"weights must hold bytes, an int, and sha256, got"),
    "no config": ({"config": [1]}, r"config must be a JSON object, got \[1\]"),
    "unknown field": ({"config.experts": 8}, r"config\.experts is unknown, got 8"),
    "unknown scaling": ({"config.rope_scaling": {"foo": 1}}, r"config\.rope_scaling\.foo is unknown, got 1"),
    "half a scaling": (
        {"config.rope_scaling": {"factor": 8.0}},
        r"config\.rope_scaling\.original_context_length is missing",
    ),
    "impossible field": ({"config.num_heads": 3}, r"d_model must be a multiple of num_heads, got 8 and 3"),
    "ill-typed field": ({"config.d_model": 8.5}, r"d_model must be an int, got 8\.5"),
    "huge field": ({"config.vocab_size": 10**30}, r"vocab_size must be at most 16777216, got 10+$"),
    "many layers": ({"config.num_layers": 2**24}, r"has no tensor layers\.3\.ln1\.weight, which config"),
    "wider": ({"config.d_ff": 16}, r"layers\.0\.ffn\.w1\.weight has shape \[12, 8\], .* \[16, 8\]"),
    "fewer layers": ({"config.num_layers": 2}, r"layers\.2\..*\.weight has no place in the model"),
    "other parts": ({"config.qk_norm": True}, r"no tensor layers\.0\.attn\.q_norm\.weight.* shape \[2\]"),
    "other dtype": ({"dtype": "float16"}, r"model\.safetensors holds float32, config\.json says float16"),
}  # fmt: skip


@pytest.mark.usefixtures("unchecked")  # beartype would refuse wrong types before the config does
@pytest.mark.parametrize(("changes", "message"), CONFIG_DAMAGE.values(), ids=CONFIG_DAMAGE)
def test_a_wrong_config_is_refused_before_anything_is_made(
    copy: Path, changes: dict[str, object], message: str
) -> None:
    def change(content: Any) -> None:
        for name, value in changes.items():
            outer, _, inner = name.rpartition(".")
            (content[outer] if outer else content)[inner] = value

    edit(copy, change)
    with pytest.raises(ValueError, match=message) as error:
        load_model(copy)
    assert str(copy) in str(error.value)


@pytest.mark.parametrize("name", ["version", "dtype", "weights", "config.d_ff"])
def test_a_name_that_is_missing_is_named(copy: Path, name: str) -> None:
    outer, _, inner = name.rpartition(".")
    edit(copy, lambda content: (content[outer] if outer else content).pop(inner))
    message = "version must be 1, got None" if name == "version" else f"config.json: {name} is missing"
    with pytest.raises(ValueError, match=message):
        load_model(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not sound JSON: Expecting value"),
        ("{", "is not sound JSON"),
        ("[" * 100_000, "is not sound JSON"),
        ('{"a": 1, "a": 2}', "is not sound JSON: 'a' is given twice"),
        ("[]", "must hold a JSON object, got list"),
        (b"\xff", "is not sound JSON"),
    ],
)
def test_a_config_that_is_no_json_is_refused(copy: Path, text: str | bytes, message: str) -> None:
    (copy / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        load_model(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_model(copy)
    with pytest.raises(FileNotFoundError, match=r"nowhere/config\.json is missing: give the directory"):
        load_model(copy / "nowhere")


def test_a_file_that_was_cut_off_is_refused(copy: Path) -> None:
    raw = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(raw[:-1])
    with pytest.raises(
        ValueError, match=f"has {len(raw) - 1} bytes, config.json says {len(raw)}: it was cut"
    ):
        load_model(copy)


def test_a_flipped_bit_is_found(copy: Path) -> None:
    raw = bytearray((copy / "model.safetensors").read_bytes())
    raw[-3] ^= 1
    (copy / "model.safetensors").write_bytes(raw)
    with pytest.raises(ValueError, match=r"SHA-256 differs: it has changed since, or is of another model"):
        load_model(copy)


HEADER_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda raw: b"", "0 bytes, is not a whole safetensors file: .*header too small"),
    "header longer than the file": (
        lambda raw: struct.pack("<Q", len(raw)) + raw[8:], "is not a whole .*invalid header length",
    ),
    "header longer than any": (lambda raw: struct.pack("<Q", 2**60) + raw[8:], "header too large"),
    "header without JSON": (lambda raw: raw[:8] + b"x" + raw[9:], "invalid JSON in header"),
    "tensors cut off": (lambda raw: raw[:-1], "file not fully covered; copy or save it again"),
    "more than tensors": (lambda raw: raw + b"x", "file not fully covered"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), HEADER_DAMAGE.values(), ids=HEADER_DAMAGE)
def test_a_file_that_is_no_safetensors_is_refused(
    copy: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    set_weights(copy, damage((copy / "model.safetensors").read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        load_model(copy)
    assert str(copy / "model.safetensors") in str(error.value)


def test_weights_that_are_no_floating_point_numbers_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    set_weights(copy, weights | {"ln_final.weight": torch.ones(8, dtype=torch.int8)})
    with pytest.raises(ValueError, match=r"ln_final\.weight must be one of F64, F32, BF16, F16, got I8"):
        load_model(copy)
    set_weights(copy, weights | {"ln_final.weight": torch.ones(8, dtype=torch.float16)})
    with pytest.raises(ValueError, match=r"\.weight is torch\.float.*\.weight is torch\.float.* say which"):
        load_model(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, tmp_path: Path, value: float) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    weights["layers.2.attn.k_proj.weight"][1, 7] = value
    set_weights(copy, weights)
    with pytest.raises(
        ValueError, match=rf"model\.safetensors: layers\.2\.attn\.k_proj\.weight\[1, 7\] is {value}"
    ):
        load_model(copy)


def test_the_file_is_a_plain_safetensors_file(saved: Path) -> None:
    with safe_open(saved / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(TransformerLM(TINY).state_dict())
