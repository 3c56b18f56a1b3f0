"""The commands, as one who types them sees them."""

import errno
import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from hornbook.bpe import Tokenizer, train_bpe
from hornbook.bpe.__main__ import COMMANDS, main

END = "<|endoftext|>"
STORIES = f"the cat sat\r\non the mat\x00 née{END}the 🐈 sat{END}that is that"
MERGES = [(b"a", b"t"), (b"t", b"h"), (b"th", b"e"), (b" ", b"s"), (b"th", b"at")]
# The special token and the 256 bytes come first.
VOCAB_SIZE = 257 + len(MERGES)


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text, in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "stories.txt"
    path.write_bytes(STORIES.encode())
    return path


@pytest.fixture
def tokenizer(text: Path) -> Tokenizer:
    """A tokenizer, saved in the directory `tok`."""
    tokens = [END.encode(), *(bytes([value]) for value in range(256))]
    tokens += [left + right for left, right in MERGES]
    tokenizer = Tokenizer(dict(enumerate(tokens)), MERGES, [END])
    tokenizer.save("tok")
    return tokenizer


def run(capture: pytest.CaptureFixture[bytes], *argv: str) -> str:
    """Standard output of a command that succeeds."""
    code = main(argv)
    out, err = capture.readouterr()
    assert code == 0, err.decode()
    return out.decode()


def fail(capture: pytest.CaptureFixture[bytes], *argv: str) -> str:
    """The one line on standard error of a command that must not succeed."""
    assert main(argv) == 2
    out, err = capture.readouterr()
    lines = err.decode().splitlines()
    assert not out
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def left_over(folder: Path) -> list[str]:
    """What should not be there: files that were to be renamed."""
    return [path.name for path in folder.rglob(".*")]


def test_every_command_teaches_with_an_example_that_its_own_parser_takes(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert all(name in run(capsysbinary, "--help") for name in COMMANDS)
    for name in COMMANDS:
        help_text = run(capsysbinary, name, "--help")
        assert "for example:" in help_text
        assert f"python -m hornbook.bpe {name} " in help_text
        assert max(map(len, help_text.split("for example:")[0].splitlines())) <= 100
        assert "None" not in help_text


def test_training_writes_what_the_library_learns_and_says_what_it_made(
    text: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    out = run(capsysbinary, "train", str(text), "--vocab-size", str(VOCAB_SIZE), "--out", "made/tok")
    expected = Tokenizer(*train_bpe(text, VOCAB_SIZE, [END]), [END])
    assert Tokenizer.load("made/tok").fingerprint == expected.fingerprint
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (rows["made"], rows["tokens"], rows["merges"]) == ("made/tok", "262", "5")
    assert "MB/s" in rows["counting"]
    assert '"' in rows["longest"]
    assert not left_over(text.parent)


def test_the_rules_of_training_reach_it(text: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    flags = {
        "cut": ["--special-token", "that", "--special-token", END],
        "uncut": ["--no-special-tokens", "--tie-break", "smallest ids", "--pattern", r"\S+|\s+"],
    }
    for name, extra in flags.items():
        run(capsysbinary, "train", "stories.txt", "--vocab-size", "280", "--out", name, "--quiet", *extra)
    cut, uncut = map(Tokenizer.load, flags)
    assert cut.special_tokens == ["that", END]
    assert cut.merges == train_bpe(text, 280, ["that", END])[1]
    assert uncut.pattern == r"\S+|\s+"
    assert uncut.merges == train_bpe(text, 280, [], pattern=r"\S+|\s+", tie_break="smallest ids")[1]
    assert uncut.merges != train_bpe(text, 280, [], pattern=r"\S+|\s+")[1]


def test_parts_counted_apart_train_the_tokenizer_of_the_whole(
    text: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    one, two = (text.parent / "1.txt", text.parent / "2.txt")
    head, tail = STORIES.encode()[: STORIES.index("the 🐈") + 1], STORIES[STORIES.index("the 🐈") :].encode()
    one.write_bytes(head)
    two.write_bytes(tail)
    summary = run(capsysbinary, "count", "1.txt", "--out", "1.counts")
    assert "different pretokens" in summary
    run(capsysbinary, "count", "2.txt", "--out", "2.counts", "--quiet")
    run(capsysbinary, "count", "--add", "2.counts", "1.counts", "--out", "added.counts")
    run(capsysbinary, "count", "?.txt", "--out", "both.counts")
    assert Path("added.counts").read_bytes() == Path("both.counts").read_bytes()
    rules = ["--vocab-size", "280", "--tie-break", "smallest ids"]
    run(capsysbinary, "train", "--from-counts", "added.counts", *rules, "--out", "added")
    run(capsysbinary, "train", "1.txt", "2.txt", *rules, "--out", "whole")
    assert Tokenizer.load("added").fingerprint == Tokenizer.load("whole").fingerprint


def test_every_format_that_is_written_is_read_again(
    text: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    argv = ["train", "stories.txt", "--vocab-size", "262", "--quiet"]
    forms = ["--format", "hornbook", "--format", "huggingface", "--format", "tiktoken"]
    run(capsysbinary, *argv, "--out", "three", *forms)
    run(capsysbinary, *argv, "--out", "gpt2", "--format", "gpt2")
    ids = run(capsysbinary, "encode", "stories.txt", "--tokenizer", "three")
    special = ["--special-token", END]
    for path, extra in {
        "three/tokenizer.json": [],
        "three/tokenizer.tiktoken": [*special, "--pattern", "gpt2"],
        "gpt2": special,
        "gpt2/vocab.json": special,
        "gpt2/vocab.json,gpt2/merges.txt": special,
    }.items():
        assert run(capsysbinary, "encode", "stories.txt", "--tokenizer", path, *extra) == ids, path


def test_ids_are_printed_a_line_for_each_document_and_decode_takes_them_back(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run(capsysbinary, "encode", "stories.txt", "--tokenizer", "tok")
    assert [int(word) for word in printed.split()] == tokenizer.encode(STORIES)
    assert len(printed.splitlines()) == 3
    give_stdin(monkeypatch, printed.encode())
    assert run(capsysbinary, "decode", "-", "--tokenizer", "tok") == STORIES


def test_each_input_is_a_text_of_its_own(
    text: Path, tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("more.txt.gz").write_bytes(gzip.compress(b"sat"))
    printed = run(capsysbinary, "encode", "more.txt.gz", "more.txt.gz", "--tokenizer", "tok").splitlines()
    assert [[int(word) for word in line.split()] for line in printed] == [tokenizer.encode("sat")] * 2


def test_a_token_file_holds_the_ids_and_decodes_to_the_same_bytes(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run(capsysbinary, "encode", "stories.txt", "--tokenizer", "tok", "--out", "ids.bin")
    assert np.fromfile("ids.bin", "<u2").tolist() == tokenizer.encode(STORIES)
    assert json.loads(Path("ids.bin.json").read_bytes())["tokenizer"] == tokenizer.fingerprint
    assert f"{len(tokenizer.encode(STORIES))} (<u2)" in out
    assert run(capsysbinary, "decode", "ids.bin", "--tokenizer", "tok") == STORIES
    give_stdin(monkeypatch, STORIES.encode())
    run(capsysbinary, "encode", "-", "--tokenizer", "tok", "--out", "piped.bin", "--quiet")
    assert Path("piped.bin").read_bytes() == Path("ids.bin").read_bytes()


def test_a_decoded_token_may_be_half_a_character(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_stdin(monkeypatch, str(tokenizer.encode("é")[0]).encode())
    assert main(["decode", "-", "--tokenizer", "tok"]) == 0
    assert capsysbinary.readouterr().out == "é".encode()[:1]


def test_stats_are_those_of_a_count_by_hand(
    text: Path, tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    argv = ["stats", "stories.txt", "--tokenizer", "tok", "--documents", "2", "--seed", "3", "--json"]
    report = json.loads(run(capsysbinary, *argv))
    (one,) = report["measurements"]
    documents = STORIES.split(END)
    num_bytes = sum(len(document.encode()) for document in documents)
    ids = [tokenizer.encode(document) for document in documents]
    assert (one["num_bytes"], one["num_tokens"], one["num_documents"]) == (num_bytes, sum(map(len, ids)), 3)
    assert one["bytes_per_token"] == num_bytes / sum(map(len, ids))
    drawn = one["sampled_documents"]
    assert len(drawn) == 2
    sampled = sum(len(documents[i].encode()) for i in drawn) / sum(len(ids[i]) for i in drawn)
    assert one["sampled_bytes_per_token"] == sampled
    used = {token_id for document in ids for token_id in document}
    assert one["num_unused"] == VOCAB_SIZE - 1 - len(used)
    assert report["tokenizers"][0]["dtype"] == "uint16"
    assert one["pile_seconds"] == pytest.approx(825e9 / one["bytes_per_second"])
    again = json.loads(run(capsysbinary, *argv))["measurements"][0]
    assert again["sampled_documents"] == drawn


def test_stats_put_tokenizers_and_texts_side_by_side(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("plain.txt").write_text("no document ends here", encoding="utf-8")
    Tokenizer({value: bytes([value]) for value in range(256)}, []).save("bytes")
    argv = ["stats", "stories.txt", "plain.txt", "--tokenizer", "tok", "--tokenizer", "bytes"]
    table = run(capsysbinary, *argv)
    rows = [line.split() for line in table.splitlines() if line.startswith(("stories.txt", "plain.txt"))]
    assert [row[:2] for row in rows] == [
        ["stories.txt", "tok"],
        ["stories.txt", "bytes"],
        ["plain.txt", "tok"],
        ["plain.txt", "bytes"],
    ]
    assert rows[3][2:6] == ["21", "21", "1.000", "-"]  # without the special token there are no documents
    unused = VOCAB_SIZE - 1 - len(set(tokenizer.encode("no document ends here")))
    assert rows[2][-1] == str(unused)  # the special token, which is not there either, is none of them
    assert "uint16 (0 to 65,535)" in table
    markdown = run(capsysbinary, *argv, "--markdown")
    assert markdown.startswith("| tokenizer | tok | bytes |\n| :--- | ---: | ---: |")


def test_show_puts_bars_between_tokens_and_colors_when_told(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    plain = run(capsysbinary, "show", "stories.txt", "--tokenizer", "tok")
    assert plain.count("|") - STORIES.count("|") == len(tokenizer.encode(STORIES))
    assert "⏎|\n" in plain
    assert "\x1b" not in plain
    assert r"\x00" in plain
    ids = run(capsysbinary, "show", "stories.txt", "--tokenizer", "tok", "--ids")
    assert f"{END}:0|" in ids
    assert "\x1b[" in run(capsysbinary, "show", "stories.txt", "--tokenizer", "tok", "--color", "always")


def test_show_stops_at_a_whole_character_and_says_so(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("cat.txt").write_bytes("a🐈b".encode())
    for limit, shown in ((1, b"a|\n"), (4, b"a|\n"), (5, rb"a|\xf0|\x9f|\x90|\x88|" + b"\n")):
        assert main(["show", "cat.txt", "--tokenizer", "tok", "--max-bytes", str(limit)]) == 0
        out, err = capsysbinary.readouterr()
        assert out == shown
        assert b"the text goes on" in err


def test_show_shows_bytes_that_are_no_text(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("broken.txt").write_bytes(b"a\xff\xfeb")
    assert run(capsysbinary, "show", "broken.txt", "--tokenizer", "tok", "--quiet") == "a|\\xff|\\xfe|b|\n"


def test_a_page_is_written_whole_for_a_hostile_text(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    Path("<b>.txt").write_text("<script>alert('x')</script>", encoding="utf-8")
    run(capsysbinary, "show", "<b>.txt", "--tokenizer", "tok", "--html", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>.txt" not in page
    assert page.endswith("</html>\n")
    assert not left_over(Path())


def test_info_tells_the_engine_and_the_tokenizer(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    rows = dict(line.split("  ", 1) for line in run(capsysbinary, "info", "--tokenizer", "tok").splitlines())
    assert {"engine", "version", "Unicode version", "Python"} <= set(rows)
    assert rows["fingerprint"].strip() == tokenizer.fingerprint
    assert rows["special tokens"].strip() == f'"{END}" = 0'


TOK = ["--tokenizer", "tok"]
TRAIN = ["train", "stories.txt", "--out", "x", "--vocab-size"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND; `python -m hornbook.bpe --help` explains"),
        (["trian"], "invalid choice: 'trian'"),
        (["train", "stories.txt", "--out", "x"], "required: --vocab-size; `python -m hornbook.bpe train"),
        ([*TRAIN, "ten"], "--vocab-size: invalid int value: 'ten'"),
        ([*TRAIN, "256"], "at least 257"),
        (["train", "--out", "x", "--vocab-size", "300"], "give either texts to learn from or --from-counts"),
        ([*TRAIN, "300", "--from-counts", "b"], "give either texts to learn from or --from-counts"),
        (
            ["train", "--from-counts", "b", "--pattern", "gpt2", "--out", "x", "--vocab-size", "300"],
            "counts name their pattern and special tokens themselves",
        ),
        ([*TRAIN, "300", "--format", "gpt2", "--format", "hornbook"], "both write vocab.json"),
        # The output is looked at before the input: nobody should wait for hours to hear of it.
        (["train", "none.txt", "--out", "tok", "--vocab-size", "300"], "tok exists and would be lost"),
        (["train", "none.txt", "--out", "stories.txt/x", "--vocab-size", "300"], "stories.txt is a file"),
        (["train", "none.txt", "--out", "x", "--vocab-size", "300"], "there is no file none.txt"),
        (["train", "-", "stories.txt", "--out", "x", "--vocab-size", "300"], "the one INPUT"),
        (["count", "none.txt", "--out", "stories.txt"], "stories.txt exists and would be lost"),
        (["count", "--out", "x"], "give either texts to count"),
        (["count", "--add", "stories.txt", "--out", "x"], "stories.txt"),
        (["encode", "none.txt", *TOK, "--out", "stories.txt"], "stories.txt exists"),
        (["encode", "latin.txt", *TOK], "latin.txt is not valid UTF-8: byte 0xe9 at offset 1"),
        (["encode", "latin.txt", *TOK, "--out", "x"], "latin.txt"),
        (["encode", "stories.txt", *TOK, "--num-threads", "2"], "--num-threads goes with --out"),
        (["encode", "stories.txt", "--tokenizer", "none"], "there is no tokenizer none; --tokenizer takes"),
        (["encode", "stories.txt", "--tokenizer", "stories.txt"], "stories.txt is no tokenizer by its name"),
        (["encode", "stories.txt", "--tokenizer", "."], ". holds no tokenizer"),
        (["encode", "stories.txt", *TOK, "--special-token", "x"], "names its special tokens and pattern"),
        (["decode", "stories.txt", *TOK], "stories.txt.json"),
        (["stats", "-", *TOK], "save it to a file first"),
        (["stats", "stories.txt", *TOK, "--documents", "-1"], "--documents must be 0 or more, got -1"),
        (["show", "stories.txt", *TOK, "--max-bytes", "0"], "--max-bytes must be at least 1, got 0"),
        (["show", "stories.txt", *TOK, "--html", "stories.txt"], "stories.txt exists"),
        (["info", "--pattern", "gpt2"], "go with --tokenizer"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes], argv: list[str], message: str
) -> None:
    Path("latin.txt").write_bytes("né".encode("latin-1") + b" " * 100)
    before = sorted(path.name for path in Path().rglob("*"))
    assert message in fail(capsysbinary, *argv)
    assert sorted(path.name for path in Path().rglob("*")) == before


def test_decode_refuses_a_token_file_of_another_tokenizer_and_ids_that_are_none(
    tokenizer: Tokenizer, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsysbinary, "encode", "stories.txt", "--tokenizer", "tok", "--out", "ids.bin")
    Tokenizer({value: bytes([value]) for value in range(256)}, []).save("bytes")
    message = fail(capsysbinary, "decode", "ids.bin", "--tokenizer", "bytes")
    assert "ids.bin was made by tokenizer" in message
    give_stdin(monkeypatch, b"262")
    assert "262" in fail(capsysbinary, "decode", "-", "--tokenizer", "tok")


def test_a_vocabulary_that_the_text_cannot_fill_is_saved_with_a_warning(
    text: Path, capsysbinary: pytest.CaptureFixture[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    out = run(capsysbinary, "train", "stories.txt", "--vocab-size", "5_000", "--out", "small")
    assert "no pair left to merge" in caplog.text
    assert f"{Tokenizer.load('small').vocab_size}" in out


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (["train", "stories.txt", "--vocab-size", "260", "--out"], "made"),
        (["train", "stories.txt", "--vocab-size", "260", "--format", "huggingface", "--out"], "made"),
        (["count", "stories.txt", "--out"], "made.counts"),
        (["encode", "stories.txt", "--tokenizer", "tok", "--out"], "made.bin"),
        (["show", "stories.txt", "--tokenizer", "tok", "--html"], "made.html"),
    ],
)
@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "no room to write {}"), (errno.EIO, "{}: Input/output error")]
)
def test_a_disk_that_fails_is_told_with_the_name_that_was_asked_for(
    command: list[str],
    out: str,
    number: int,
    said: str,
    tokenizer: Tokenizer,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail_to_sync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail_to_sync)
    line = fail(capsysbinary, *command, out)
    assert line.startswith("error: " + said.format(out))
    assert ("free some space, or choose another folder" in line) == (number == errno.ENOSPC)
    assert not (tmp_path / out).exists()
    assert not left_over(tmp_path)
