"""save_model and load_model: what was saved comes back bit for bit, or not at all."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.nn.formats import directory as own_form
from hornbook.nn.formats import load_model, save_model
from hornbook.nn.formats.files import sha256_of_file
from hornbook.nn.formats.weights import weight_shapes
from reference_lm import EVERYTHING, configs

TINY = TransformerConfig(vocab_size=13, context_length=8, num_layers=3, d_model=8, num_heads=4, d_ff=12)


def assert_same_model(model: TransformerLM, expected: TransformerLM) -> None:
    assert model.config == expected.config
    ours, theirs = model.state_dict(), expected.state_dict()
    assert list(ours) == list(theirs)
    for name, weight in ours.items():
        assert weight.dtype == theirs[name].dtype
        assert torch.equal(weight, theirs[name]), name
    # What is no part of the state dict, the rotary tables, too.
    token_ids = torch.randint(model.config.vocab_size, (2, model.config.context_length))
    assert torch.equal(model(token_ids), expected(token_ids))


@given(configs(), st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
@settings(max_examples=25, deadline=None)
def test_any_model_comes_back_bit_for_bit(config: TransformerConfig, dtype: torch.dtype) -> None:
    model = TransformerLM(config, dtype=dtype)
    assert dict(weight_shapes(config)) == {name: tuple(p.shape) for name, p in model.named_parameters()}
    with tempfile.TemporaryDirectory() as directory:
        save_model(model, directory)
        assert_same_model(load_model(directory), model)


def test_two_files_are_written_and_tied_weights_once(tmp_path: Path) -> None:
    save_model(TransformerLM(EVERYTHING), tmp_path / "a" / "b")
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"config.json", "model.safetensors"}
    assert "lm_head.weight" not in load_file(tmp_path / "a" / "b" / "model.safetensors")
    content = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert content["config"] == asdict(EVERYTHING)
    assert (content["format"], content["version"], content["dtype"]) == ("hornbook.nn", 1, "float32")
    model = load_model(tmp_path / "a" / "b")
    assert model.lm_head.weight is model.token_embeddings.weight
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_may_be_loaded_in_another_dtype(tmp_path: Path) -> None:
    model = TransformerLM(TINY, dtype=torch.float64)
    save_model(model, tmp_path)
    assert_same_model(load_model(tmp_path, dtype=torch.bfloat16), model.to(torch.bfloat16))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_may_be_loaded_onto_a_device_and_saved_from_there(tmp_path: Path) -> None:
    model = TransformerLM(TINY)
    save_model(model, tmp_path)
    on_gpu = load_model(tmp_path, device="cuda")
    assert {parameter.device.type for parameter in (*on_gpu.parameters(), *on_gpu.buffers())} == {"cuda"}
    save_model(on_gpu, tmp_path)
    assert_same_model(load_model(tmp_path), model)


def test_weights_too_large_for_a_dtype_are_refused(tmp_path: Path) -> None:
    model = TransformerLM(TINY).requires_grad_(False)
    model.lm_head.weight[3, 5] = 1e6
    save_model(model, tmp_path)
    with pytest.raises(
        ValueError, match=r"lm_head\.weight\[3, 5\] is 1e\+06, too large for torch\.float16: choose a dtype"
    ):
        load_model(tmp_path, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"dtype must be one of torch\.float64, .*, got torch\.int8"):
        load_model(tmp_path, dtype=torch.int8)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    save_model(TransformerLM(TINY), tmp_path)
    before = torch.get_rng_state()
    load_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_field_that_is_younger_than_the_file_has_its_default(tmp_path: Path) -> None:
    model = TransformerLM(TINY)
    save_model(model, tmp_path)
    edit(tmp_path, lambda content: content["config"].pop("value_residual"))
    assert_same_model(load_model(tmp_path), model)


# An overwriting save: the old model or the new one, whenever it is cut off, and the next save mends all.


@pytest.mark.parametrize("new_shape", [TINY, replace(TINY, d_ff=20)], ids=["same size", "other size"])
@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_a_save_that_is_cut_off_leaves_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int, new_shape: TransformerConfig
) -> None:
    old, new = TransformerLM(TINY), TransformerLM(new_shape)
    save_model(old, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    done: list[Path] = []
    rename = Path.replace

    def cut_off(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", cut_off)
        if renames < 3:
            with pytest.raises(KeyboardInterrupt):
                save_model(new, tmp_path)
        else:
            save_model(new, tmp_path)
    assert_same_model(load_model(tmp_path), new if renames == 3 else old)
    with monkeypatch.context() as patched:  # and once more
        done.clear()
        patched.setattr(Path, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt) if renames < 3 else nullcontext():
            save_model(new, tmp_path)
    assert_same_model(load_model(tmp_path), new if renames == 3 else old)
    newest = TransformerLM(TINY)
    save_model(newest, tmp_path)
    assert_same_model(load_model(tmp_path), newest)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "notes.txt"}


def test_a_save_that_was_killed_before_it_took_its_old_weights_away_is_whole(tmp_path: Path) -> None:
    old, new = TransformerLM(TINY), TransformerLM(TINY)
    save_model(old, tmp_path)
    replaced = (tmp_path / "model.safetensors").read_bytes()
    save_model(new, tmp_path)
    (tmp_path / ".replaced-model.safetensors").write_bytes(replaced)
    assert_same_model(load_model(tmp_path), new)


def test_what_dead_processes_left_aside_is_removed_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    dead, alive = (tmp_path / f".config.json.{pid}.part" for pid in (process.pid, os.getppid()))
    others = [alive, tmp_path / ".config.json.part", tmp_path / ".config.json.mine.part"]
    for path in (dead, *others):
        path.write_text("{")
    save_model(TransformerLM(TINY), tmp_path)
    assert not dead.exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_may_be_saved_in_another_dtype_and_stays_as_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    model = TransformerLM(TINY)
    save_model(model, tmp_path, dtype=dtype)
    assert model.lm_head.weight.dtype == torch.float32
    assert_same_model(load_model(tmp_path), model.to(dtype))


def test_what_overflows_in_half_precision_is_told_with_its_value(tmp_path: Path) -> None:
    model = TransformerLM(TINY).requires_grad_(False)
    model.get_parameter("layers.1.ffn.w2.weight")[0, 2] = 1e5
    with pytest.raises(
        ValueError, match=r"w2\.weight\[0, 2\] is 100000, too large for torch\.float16: choose"
    ):
        save_model(model, tmp_path / "out", dtype=torch.float16)
    assert not (tmp_path / "out").exists()


def test_a_model_without_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"token_embeddings\.weight is on the meta device and has no values"):
        save_model(TransformerLM(TINY, device="meta"), tmp_path)


def test_every_byte_is_on_the_disk_before_a_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, sync = Path.replace, os.fsync
    events: list[str] = []

    def replace_and_tell(path: Path, target: Path) -> Path:
        events.append(f"rename {target.name}")
        return rename(path, target)

    def sync_and_tell(descriptor: int) -> None:
        events.append("sync")
        sync(descriptor)

    monkeypatch.setattr(Path, "replace", replace_and_tell)
    monkeypatch.setattr(os, "fsync", sync_and_tell)
    save_model(TransformerLM(TINY), tmp_path)
    assert events[:4] == ["sync", "sync", "rename model.safetensors", "rename config.json"]
    if os.name == "posix":
        assert events[4:] == ["sync"]  # of the directory


def test_a_model_that_cannot_be_loaded_is_not_saved(tmp_path: Path) -> None:
    model = TransformerLM(TINY).requires_grad_(False)
    model.get_parameter("layers.1.ffn.w2.weight")[0, 2] = float("nan")
    with pytest.raises(ValueError, match=r"^layers\.1\.ffn\.w2\.weight\[0, 2\] is nan: such weights compute"):
        save_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unchecked")
def test_only_a_model_as_it_was_made_is_saved(tmp_path: Path) -> None:
    model = TransformerLM(TINY)
    with pytest.raises(TypeError, match=r"model must be a TransformerLM, got ModuleList: .* give _orig_mod"):
        save_model(torch.nn.ModuleList([model]), tmp_path)  # type: ignore[arg-type]
    model.layers[1].half()
    with pytest.raises(
        ValueError, match=r"one floating point dtype, layers\.1\.ln1\.weight is torch\.float16"
    ):
        save_model(model, tmp_path)
    del model.float().layers[2]
    with pytest.raises(ValueError, match="other weights than its config describes"):
        save_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


# Bad files.


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change config.json."""
    content = json.loads((path / "config.json").read_text())
    change(content)
    (path / "config.json").write_text(json.dumps(content))


def set_weights(path: Path, weights: bytes | dict[str, Tensor]) -> None:
    """Replace the weights, with a digest that fits: as if they had been saved so."""
    file = path / "model.safetensors"
    if isinstance(weights, bytes):
        file.write_bytes(weights)
    else:
        save_file(weights, file)
    digest = {"bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
    edit(path, lambda content: content.update(weights=digest))


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


def test_who_may_read_the_config_may_read_the_weights(tmp_path: Path) -> None:
    save_model(TransformerLM(EVERYTHING), tmp_path)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
