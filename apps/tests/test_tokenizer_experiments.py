import json
import re
from pathlib import Path

import pytest
import tyro

import tokenizer_experiments as app
from hornbook.bpe import Tokenizer
from recipes import tokenizer_cost
from recipes.library import write_library
from recipes.stories import END_OF_TEXT, write_stories
from recipes.texts import TextFlags, choose_texts
from recipes.tokenizer_cost import predicted_seconds
from recipes.tokenizer_flags import Flags
from recipes.wrong_input import exit_code_of


def call(*words: object) -> int:
    """Call the app as the shell does, but in this process."""
    return exit_code_of(lambda: app.main(tyro.cli(Flags, args=[str(word) for word in words])))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("texts")
    paths = [folder / f"{name}.txt" for name in ("stories", "code", "stories-valid", "code-valid")]
    for path, size in zip(paths[::2], (60_000, 20_000), strict=True):
        write_stories(path, num_bytes=size, seed=0, split="train" if path is paths[0] else "valid")
    for path, size in zip(paths[1::2], (60_000, 20_000), strict=True):
        write_library(path, num_bytes=size, split="train" if path is paths[1] else "valid")
    return paths


def test_the_tables_hold_what_encoding_gives_and_nothing_is_trained_twice(
    tmp_path: Path, texts: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--texts", *texts[:2], "--held-out", *texts[2:], "--vocab-sizes", 500, 400, f"--out={tmp_path}"]
    assert call(*words) == 0
    said = capfd.readouterr()
    first = (tmp_path / "answers.md").read_text(encoding="utf-8")
    assert first in said.out
    assert said.out.count("made   ") == 2

    # Bytes per token by the definition, on the first corpus' held-out text.
    documents = [d.strip() for d in texts[2].read_text().split(f"\n{END_OF_TEXT}\n")]
    row = next(line for line in first.splitlines() if line.startswith("| stories.txt, held out"))
    told = [float(cell.split()[0]) for cell in row.split("|")[2:4]]
    for slug, ratio in zip(("stories-500", "code-400"), told, strict=True):
        tokenizer = Tokenizer.load(tmp_path / slug)
        text = texts[2].read_text()
        ids = [token for token in tokenizer.encode(text) if token != tokenizer.encode(END_OF_TEXT)[0]]
        num_bytes = len(text) - len(END_OF_TEXT) * (len(documents) - 1)
        assert ratio == pytest.approx(num_bytes / len(ids), abs=6e-4)
    assert told[0] > told[1]  # on stories, the tokenizer of stories needs fewer tokens
    assert first.count("| uint16 | ") == 2

    note = json.loads((tmp_path / "stories-500.json").read_text())
    assert note["text_bytes"] == texts[0].stat().st_size
    if note["peak_bytes"] is not None:
        assert 10e6 < note["peak_bytes"] < 500e6  # not that of this process, which holds torch
    assert call(*words) == 0
    assert "made   " not in capfd.readouterr().out

    def untimed(text: str) -> str:
        return re.sub(r"\| [\d.,]+ MB/s \| [^|]+ \|", "", text)

    assert untimed((tmp_path / "answers.md").read_text(encoding="utf-8")) == untimed(first)


def test_a_text_that_has_changed_is_not_taken_for_the_one_of_before(
    tmp_path: Path, texts: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_bytes(texts[0].read_bytes())
    words = [
        "--texts",
        tmp_path / "mine.txt",
        texts[1],
        "--held-out",
        *texts[2:],
        f"--out={tmp_path / 'out'}",
    ]
    assert call(*words, "--vocab-sizes", 300, 300) == 0
    (tmp_path / "mine.txt").write_bytes(texts[1].read_bytes())
    assert call(*words, "--vocab-sizes", 300, 300) == 2
    assert "was trained on another text than" in capfd.readouterr().err


def test_a_dry_run_names_what_takes_the_place_of_the_data_sets_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("--dry-run") == 0
    said = capsys.readouterr().out
    assert "corpus: generated sample, not TinyStories (10.0 MB), tokenizer of 10,000 tokens" in said
    assert "library, not OpenWebText (10.0 MB), tokenizer of 32,000 tokens" in said
    assert call("--dry-run", "--download") == 0
    assert "corpus: OpenWebText (to be downloaded)" in capsys.readouterr().out
    assert re.search(r"^time: about [\d.]+ (ms|s|min), without downloads$", said, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_the_predicted_time_is_that_of_a_part_and_grows_with_the_text(
    tmp_path: Path, texts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora = [choose_texts(TextFlags(train_text=texts[i], valid_text=texts[i + 2])) for i in (0, 1)]
    assert predicted_seconds(corpora, (300, 300)) > 1.5  # of the processes alone
    monkeypatch.setattr(tokenizer_cost, "_measured", lambda sample, vocab_size: [1.0, 10.0, 2.0])
    assert predicted_seconds(corpora, (300, 300)) == 1.5 + 2 * (1 + 2 * 2 + 10)  # the part is the whole
    hundredfold = tmp_path / "hundredfold.txt"
    hundredfold.write_bytes(texts[0].read_bytes() * 100)
    monkeypatch.setattr(tokenizer_cost, "_SAMPLE_BYTES", texts[0].stat().st_size)
    larger = choose_texts(TextFlags(train_text=hundredfold, valid_text=texts[2]))
    # Counting and encoding grow with the text, what is merged with its root.
    assert predicted_seconds([larger], (300,)) == pytest.approx(1.5 + 100 * (1 + 2 * 2) + 10 * 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vocab-sizes", "256", "300"], "error: --vocab-sizes must be at least 257"),
        (["--num-documents=0"], "error: --num-documents must be at least 1, got 0"),
        (["--texts", "a", "b"], "error: --texts needs --held-out too"),
        (["--texts", "a", "b/a", "--held-out", "c", "d"], "error: --texts a and b/a have one name"),
        (["--texts", "a", "b", "--held-out", "c", "d"], "error: --texts: there is no file a"),
        (["--texts", "a", "b", "--held-out", "c", "d", "--download"], "error: --download and --texts are"),
        (["--sample-megabytes=0"], "error: --sample-megabytes must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    assert list(tmp_path.iterdir()) == []
