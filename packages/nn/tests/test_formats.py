"""save_model and load_model: what was saved comes back bit for bit, or not at all."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from hornbook.nn import TransformerConfig, TransformerLM
from hornbook.nn.formats import load_model, save_model
from hornbook.nn.formats.weights import weight_shapes
from reference_lm import EVERYTHING, configs
from saved_models import TINY, edit


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


def test_who_may_read_the_config_may_read_the_weights(tmp_path: Path) -> None:
    save_model(TransformerLM(EVERYTHING), tmp_path)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
