"""Wrong input: one clear line, exit code 2, nothing left behind."""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from hornbook.accounting import num_parameters
from hornbook.trainer import sha256_of_file
from recipes.download import TINYSTORIES, DownloadRecord
from recipes.flags import parse_train_flags
from recipes.run import check_room
from recipes.stories import story
from tiny import SMALL, arguments, train, write_texts

APPS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_texts(tmp_path_factory.mktemp("texts"))


def listing(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in directory.rglob("*")}


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _one_document(path: Path) -> None:
    path.write_text(story(0, 0, "train") + "\n<|endoftext|>\n")


def _only_separators(path: Path) -> None:
    path.write_text("<|endoftext|>\n" * 20)


def _short(path: Path) -> None:
    path.write_text("a\n<|endoftext|>")


def _few_tokens(path: Path) -> None:  # more bytes than a context has tokens, but fewer tokens
    path.write_text("once <|endoftext|> upon")


def _not_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n<|endoftext|>\n caf\xe9 au lait")


@pytest.mark.parametrize("which", ["train", "valid"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_missing, "--{which}-text: there is no file {path}"),
        (_empty, "--{which}-text: {path} is empty"),
        (_one_document, "--{which}-text: {path} holds one document, at least two are needed"),
        (_only_separators, "--{which}-text: {path} holds no document"),
        (_short, "--{which}-text: {path} has 15 bytes, a window of context_length=16 needs more"),
        (_few_tokens, "tokens, a window of context_length=16 needs 17"),
        (_not_utf8, "{path}"),
    ],
)
def test_a_text_that_cannot_be_used(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    which: str,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    train_text, valid_text = write_texts(tmp_path)
    path = train_text if which == "train" else valid_text
    spoil(path)
    before = listing(tmp_path)
    assert train(*arguments(tmp_path, train_text, valid_text)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message.format(which=which, path=path) in line
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vocab-size=256"], "--vocab-size must be at least 257 (256 bytes and <|endoftext|>), got 256"),
        (["--vocab-size=0"], "error: --vocab-size must be at least 257 (256 bytes and <|endoftext|>), got 0"),
        (
            ["--vocab-size=-1"],
            "error: --vocab-size must be at least 257 (256 bytes and <|endoftext|>), got -1",
        ),
        (["--num-steps=2"], "warmup_steps must be less than num_steps, got 2 and 2"),
        (["--max-lr=-1"], "max_lr must be at least 0 and finite, got -1.0"),
        (["--max-lr=1e-9"], "min_lr"),
        (["--betas", "0.9", "1.0"], "betas[1] must be"),
        (["--batch-size=0"], "batch_size must be at least 1, got 0"),
        (["--seed=-1"], "seed must be 0 to"),
        (["--ema-decay=1"], "ema_decay must be at least 0 and less than 1, got 1.0"),
        (["--warmup-fraction=1"], "warmup_fraction must be at least 0 and less than 1, got 1.0"),
        (["--num-steps=None"], "the run would never end: give num_steps, max_tokens or max_seconds"),
        (["--num-steps=None", "--max-seconds=60"], "give --warmup-fraction, such as 0.02"),
        (["--schedule=trapezoid", "--decay-fraction=0"], "decay_fraction must be more than 0"),
        (["--optimizer=muon", "--momentum=1"], "momentum must be at least 0 and less than 1, got 1.0"),
        (["--micro-batch-size=0"], "micro_batch_size must be a whole number of at least 1, got 0"),
        (["--wandb=stories"], "--wandb needs wandb, which is not installed: uv sync --extra wandb"),
        (["--data=tinystories"], "--data tinystories and --train-text are two sources"),
        (["--device=abacus"], "--device abacus can't be used here"),
        (["--d-model=17"], "d_model must be a multiple of num_heads, got 17 and 2"),
        (["--num-steps=0"], "num_steps must be a whole number of at least 1, got 0"),
    ],
)
def test_a_setting_that_cannot_be(
    tmp_path: Path,
    texts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    try:
        code: object = train(*arguments(tmp_path, *texts, *more))
    except SystemExit as error:  # how the flags' parser ends
        code = error.code
    assert code == 2
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in told
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_flag_is_refused_naming_the_nearest(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train(*arguments(tmp_path, *texts, "--num-stepz=3"))
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "--num-stepz" in told
    assert "--num-steps" in told
    assert list(tmp_path.iterdir()) == []


def test_one_text_without_the_other(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in arguments(tmp_path, *texts) if not word.startswith("--valid-text")]
    assert train(*words) == 2
    assert capsys.readouterr().err.startswith("error: --train-text needs --valid-text too")


def test_a_run_directory_of_another_configuration(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, *texts)) == 0
    before = listing(tmp_path)
    capsys.readouterr()
    assert train(*arguments(tmp_path, *texts, "--d-model=32")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds a run with experiment.model.d_model = 16, this one has 32: choose another --out" in line
    assert listing(tmp_path) == before


def test_a_directory_with_other_things_in_it(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    before = listing(tmp_path)
    assert train(*arguments(tmp_path, *texts)) == 2
    assert "is not empty and holds no run (thesis.tex is in it)" in capsys.readouterr().err
    assert listing(tmp_path) == before


@pytest.mark.skipif(
    not Path("/sys/kernel").is_dir(), reason="needs a directory that even root can't write to"
)
def test_a_directory_that_cannot_be_written(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in arguments(tmp_path, *texts) if not word.startswith("--out")]
    assert train(*words, "--out=/sys/kernel/run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /sys/kernel/run: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "num_tensors"),  # as many as the weights, in all checkpoints
    [((), 3 * 3), (("--ema-decay=0.9",), 3 * 4), (("--ema-decay=0.9", "--keep-best"), 4 * 4)],
)
def test_a_disk_without_room_for_the_checkpoints(
    flags: tuple[str, ...],
    num_tensors: int,
    tmp_path: Path,
    texts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Usage:
        free, total = 1000, 2000

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    words = arguments(tmp_path, *texts, *flags)
    assert train(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no room for checkpoints in" in line
    weights = 4 * num_parameters(parse_train_flags("", words).experiment.model)
    assert f": {num_tensors * weights:,} bytes needed, " in line
    assert "1,000 free; choose another --out" in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_checkpoints_are_there_needs_room_for_one_more(
    tmp_path: Path, texts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = parse_train_flags("", arguments(tmp_path, *texts)).experiment
    size = 3 * 4 * num_parameters(experiment.model)

    class Usage:
        free, total = size, 10 * size

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    with pytest.raises(OSError, match=f"{3 * size:,} bytes needed, {size:,} free"):
        check_room(tmp_path, experiment)
    for step in (5, 10):
        checkpoint = tmp_path / "checkpoints" / f"step-{step:08d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(bytes(size))
    check_room(tmp_path, experiment)
    Usage.free = size - 1
    with pytest.raises(OSError, match=f"{size:,} bytes needed, {size - 1:,} free"):
        check_room(tmp_path, experiment)


@pytest.mark.parametrize("limit_bytes", [2_000, 20_000])
def test_a_disk_that_fills_up_on_the_way(tmp_path: Path, texts: tuple[Path, Path], limit_bytes: int) -> None:
    # A limit on the size of a file stands for a full disk: the token files or the checkpoint run into it.
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    done = subprocess.run(
        [sys.executable, str(APPS / "train_ts.py"), *arguments(tmp_path, *texts)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.match(
        r"error: no room to write \S+ \((more than )?[\d,]+ bytes needed\): free some space", line
    )
    assert ".part" not in line  # but the name that it would have
    assert not (tmp_path / "run").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_a_downloaded_text_that_has_changed_is_refused(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for text, name in zip(texts, TINYSTORIES, strict=True):
        raw = text.read_bytes()
        record = DownloadRecord("https://x", len(raw), hashlib.sha256(raw).hexdigest(), None, "2026-01-01")
        (data / name).write_bytes(raw.replace(b"e", b"a", 1))
        (data / f"{name}.json").write_text(json.dumps(asdict(record)))
    words = [word for word in arguments(tmp_path, *texts) if "-text=" not in word]
    assert train(*words) == 2
    told = capsys.readouterr()
    assert told.out.startswith("text: TinyStories\n")
    assert "was downloaded on 2026-01-01; delete it and download it again" in told.err
    assert not (tmp_path / "run").exists()


def test_a_batch_that_no_memory_holds(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, *texts, f"--batch-size={10**12}")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the run can't fit on cpu: it takes ")
    assert "--micro-batch-size" in line
    assert not (tmp_path / "run").exists()


def test_a_text_is_not_validated_on_itself(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, texts[0], texts[0])) == 2
    assert "are the same text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_text_of_ones_own_called_tinystories_is_no_download(
    tmp_path: Path, texts: tuple[Path, Path]
) -> None:
    (tmp_path / "tinystories.txt").write_bytes(texts[0].read_bytes())
    assert train(*arguments(tmp_path, tmp_path / "tinystories.txt", texts[1])) == 0


def test_a_wrong_out_is_told_before_a_sample_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    words = [*SMALL, f"--out={tmp_path / 'file'}", f"--data-dir={tmp_path / 'data'}"]
    assert train(*words) == 2
    assert "is a file, not a directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("damage", ["train.bin", "valid.bin.json", "tokenizer/vocab.json"])
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_a_damaged_cache_entry_is_made_anew(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str], damage: str, how: str
) -> None:
    assert train(*arguments(tmp_path, *texts)) == 0
    first = (tmp_path / "run" / "results.json").read_text()
    (entry,) = (tmp_path / "data" / "cache").iterdir()
    if how == "missing":
        (entry / damage).unlink()
    else:
        (entry / damage).write_bytes(b"[]" + (entry / damage).read_bytes()[2:])
    capsys.readouterr()
    assert train(*arguments(tmp_path, *texts, f"--out={tmp_path / 'again'}")) == 0
    assert "is damaged and made anew" in capsys.readouterr().out
    losses = [
        json.loads(text)["val_loss"] for text in (first, (tmp_path / "again" / "results.json").read_text())
    ]
    assert losses[0] == losses[1]


def test_a_cache_entry_that_speaks_of_another_text_is_made_anew(
    tmp_path: Path, texts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments(tmp_path, *texts)) == 0
    (entry,) = (tmp_path / "data" / "cache").iterdir()
    manifest, digest = entry / "train.bin.json", sha256_of_file(texts[0])
    before = manifest.read_text()
    manifest.write_text(before.replace(digest, digest[:-1] + ("0" if digest[-1] != "0" else "1")))
    assert manifest.read_text() != before
    capsys.readouterr()
    assert train(*arguments(tmp_path, *texts, f"--out={tmp_path / 'again'}")) == 0
    assert f"train.bin: text is {digest[:-1]}" in capsys.readouterr().out
    assert manifest.read_text() == before


def test_two_runs_may_fill_one_cache_at_once(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(APPS / "train_ts.py"),
                *arguments(tmp_path, *texts, f"--out={tmp_path / out}"),
            ],
            stdout=subprocess.DEVNULL,
        )
        for out in ("one", "two")
    ]
    assert [process.wait() for process in processes] == [0, 0]


def test_what_a_killed_preparation_left_is_cleaned_up(tmp_path: Path, texts: tuple[Path, Path]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    left = tmp_path / "data" / "cache" / f".0123.{dead.pid}.part"
    left.mkdir(parents=True)
    assert train(*arguments(tmp_path, *texts)) == 0
    assert not left.exists()
