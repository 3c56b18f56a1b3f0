"""The exporting app: what it writes is what was trained; a wrong input is one line and leaves nothing."""

import json
import sys
from pathlib import Path

import pytest
import torch
import tyro

import export as app
from hornbook.bpe import Tokenizer
from hornbook.nn.formats import load_huggingface, load_model
from recipes.stories import END_OF_TEXT
from recipes.trained import TrainedModel, load_run
from recipes.wrong_input import exit_code_of
from tiny import arguments, train, write_texts

TEXT = f"Once upon a time, the fox's naïve friend had 12 €.\n\n{END_OF_TEXT}Then"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export")
    assert train(*arguments(directory, *write_texts(directory))) == 0
    return directory / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> TrainedModel:
    return load_run(run, torch.device("cpu"))


def export(*words: object) -> int:
    """Call the exporting app as the shell does, but in this process."""
    flags = [str(word) for word in words]
    return exit_code_of(lambda: app.main(tyro.cli(app.Flags, args=flags, description=app.__doc__)))


def test_hornbooks_own_form_is_the_run_again(
    run: Path, trained: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "model"
    assert export(run, "--to", "safetensors", out) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == sorted(map(str, filter(Path.is_file, out.rglob("*"))))
    model, tokenizer = load_model(out), Tokenizer.load(out / "tokenizer")
    assert tokenizer.fingerprint == trained.tokenizer.fingerprint
    assert model.config == trained.model.config
    window = torch.tensor(tokenizer.encode(TEXT)[: model.config.context_length])
    assert torch.equal(model(window), trained.model(window))


def test_the_form_of_hugging_face_holds_model_and_tokenizer(
    run: Path, trained: TrainedModel, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()  # empty: that is fine
    assert export(run, "--to", "huggingface", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    tokenizer = Tokenizer.from_huggingface(tmp_path / "out" / "tokenizer.json")
    ids = trained.tokenizer.encode(TEXT)
    assert tokenizer.encode(TEXT) == ids
    window = torch.tensor(ids[: trained.model.config.context_length])
    assert torch.equal(load_huggingface(tmp_path / "out")(window), trained.model(window))
    for name in ("config.json", "generation_config.json"):
        config = json.loads((tmp_path / "out" / name).read_text())
        assert config["bos_token_id"] == config["eos_token_id"] == trained.stop_id
    about = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert about["bos_token"] == about["eos_token"] == END_OF_TEXT
    assert about["model_max_length"] == trained.model.config.context_length


def test_half_precision_takes_half_the_room(run: Path, tmp_path: Path) -> None:
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        assert export(run, tmp_path / dtype, "--to=huggingface", f"--dtype={dtype}") == 0
        model = load_huggingface(tmp_path / dtype)
        assert model.lm_head.weight.dtype == getattr(torch, dtype)
        sizes[dtype] = sum(parameter.nbytes for parameter in model.parameters())
    assert sizes["float32"] == 2 * sizes["bfloat16"]


def test_gguf_is_one_file(run: Path, trained: TrainedModel, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    assert export(run, tmp_path / "new" / "fox.gguf", "--to=gguf") == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["fox.gguf"]
    fields = gguf.GGUFReader(tmp_path / "new" / "fox.gguf").fields
    assert fields["general.name"].contents() == "fox"
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == trained.tokenizer.vocab_size
    assert tokens[trained.stop_id] == END_OF_TEXT
    assert fields["tokenizer.ggml.eos_token_id"].contents() == trained.stop_id


@pytest.mark.parametrize("form", ["huggingface", "gguf", "safetensors"])
def test_what_is_there_is_never_replaced(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "full" / "notes.txt"):
        assert export(run, out, f"--to={form}") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {out} is there already")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_symbolic_link_is_not_written_to(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert export(run, tmp_path / "link", "--to=safetensors") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"link is a symbolic link: give the place itself, such as {tmp_path / 'there'}")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("form", ["huggingface", "gguf"])
def test_a_variant_that_the_form_cannot_hold_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    words = arguments(tmp_path, *write_texts(tmp_path), "--norm=post", "--num-steps=2", "--warmup-steps=1")
    assert train(*words) == 0
    capsys.readouterr()
    assert export(tmp_path / "run", tmp_path / "a" / "out", f"--to={form}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: norm must be 'pre' in this format, got 'post'")
    assert not (tmp_path / "a").exists()


def test_the_package_that_gguf_needs_is_named_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert export(tmp_path / "no run", tmp_path / "out.gguf", "--to=gguf") == 2
    assert "error: --to gguf needs a package that is not installed: `uv run" in capsys.readouterr().err


def test_a_dtype_that_gguf_lacks_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    assert export(run, tmp_path / "out.gguf", "--to=gguf", "--dtype=bfloat16") == 2
    assert "--dtype bfloat16 is not for gguf: give float32 or float16" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
