"""A run that is there and is another than was asked for: refused with both values, without torch."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train_ts
from hornbook.bpe import Tokenizer, train_bpe
from hornbook.trainer import recorded_configuration, run_directory, sha256_of_file
from recipes.flags import parse_train_flags
from recipes.resume import check_resumed
from recipes.stories import END_OF_TEXT
from recipes.texts import _sha256_of
from tiny import arguments, train, write_texts

APPS = Path(__file__).parents[1]
IN_A_PROCESS = """
import runpy, sys

sys.path.insert(0, sys.argv.pop(1))
sys.argv.pop(0)
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a finished run."""
    directory = tmp_path_factory.mktemp("resume")
    words = arguments(directory, *write_texts(directory))
    assert train(*words) == 0
    return words


def out_of(words: list[str]) -> Path:
    (out,) = (word.removeprefix("--out=") for word in words if word.startswith("--out="))
    return Path(out)


def refused(*words: str) -> str:
    """What the app says, in a process of its own, in which torch must not have been imported."""
    command = [sys.executable, "-c", IN_A_PROCESS, str(APPS), str(APPS / "train_ts.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    return done.stderr


def test_other_settings_and_texts_are_refused_without_torch(words: list[str]) -> None:
    said = refused(*words, "--d-model=32")
    assert "holds a run with experiment.model.d_model = 16, this one has 32: choose another --out" in said
    train_text, valid_text = (word for word in words if "-text=" in word)
    swapped = [train_text.replace("train.txt", "valid.txt"), valid_text.replace("valid.txt", "train.txt")]
    said = refused(*words, *swapped)
    assert 'text.name = "train.txt", this one has "valid.txt" (differs as well: text.train_sha256, ' in said


def test_a_tokenizer_that_the_checkpoint_was_not_trained_with_is_refused_without_torch(
    words: list[str], tmp_path: Path
) -> None:
    run = out_of(words) / "tokenizer"
    own = Tokenizer.load(run)
    (tmp_path / "text").write_text("a text of its own, and so merges of its own\n" * 20)
    other = Tokenizer(*train_bpe(tmp_path / "text", 270, [END_OF_TEXT]), [END_OF_TEXT])
    run.rename(tmp_path / "own")
    other.save(run)
    try:
        said = refused(*words)
        assert f"{run} has the fingerprint {other.fingerprint}, " in said
        assert f"step-00000012 was trained with {own.fingerprint}: put that one back" in said
    finally:
        for file in run.iterdir():
            file.unlink()
        run.rmdir()
        (tmp_path / "own").rename(run)


def test_what_belongs_together_is_gone_on_with(words: list[str], tmp_path: Path) -> None:
    def check(*more: str) -> None:
        check_resumed(parse_train_flags(train_ts.__doc__ or "", [*words, *more]))

    check()
    check(f"--out={tmp_path / 'new'}")
    state = out_of(words) / "checkpoints" / "step-00000012" / "state.json"
    raw = state.read_bytes()
    for damage in (b"", b"[]", json.dumps({"run": {}}).encode()):
        state.write_bytes(damage)  # told when it is loaded
        check()
    state.write_bytes(raw)


def test_a_run_that_another_process_holds_is_refused_without_torch(words: list[str]) -> None:
    with run_directory(out_of(words), recorded_configuration(out_of(words)) or {}, about={}):
        assert "is in use by process" in refused(*words)


def test_a_run_that_was_begun_before_a_setting_was_there_is_gone_on_with(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "older"
    shutil.copytree(out_of(words), out)
    (out / "results.json").unlink()
    for file in (out / "config.json", *(out / "checkpoints").glob("step-*/state.json")):
        recorded = json.loads(file.read_bytes())
        del recorded["run"]["experiment"]["deterministic"]
        del recorded["run"]["experiment"]["model"]["head_dim"]
        file.write_text(json.dumps(recorded, indent=1))
    for checkpoint in (out / "checkpoints").glob("step-*"):
        manifest = json.loads((checkpoint / "manifest.json").read_bytes())
        raw = (checkpoint / "state.json").read_bytes()
        manifest["state.json"] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        (checkpoint / "manifest.json").write_text(json.dumps(manifest, indent=1))
    older = [*(word for word in words if not word.startswith("--out=")), f"--out={out}"]
    check_resumed(parse_train_flags("", older))
    assert train(*older) == 0
    assert json.loads((out / "results.json").read_bytes())["steps"] == 12
    monkeypatch.setattr("recipes.resume.likely_device", lambda _: "cuda")
    with pytest.raises(ValueError, match="choice of deterministic: give --no-deterministic to go on with it"):
        check_resumed(parse_train_flags("", older))
    check_resumed(parse_train_flags("", [*older, "--no-deterministic"]))


def test_texts_are_read_once_for_their_fingerprints_however_often_they_are_asked_for(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def reads(path: Path) -> str:
        read.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr("recipes.texts.sha256_of_file", reads)
    _sha256_of.cache_clear()
    check_resumed(parse_train_flags("", words))
    assert train(*words) == 0
    assert len(read) == len(set(read)) == 2
    read[0].touch()
    check_resumed(parse_train_flags("", words))
    assert len(read) == 3
