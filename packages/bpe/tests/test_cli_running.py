"""Promises about the process: pipes, signals, exit codes, what is loaded."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from hornbook.bpe import Tokenizer

MODULE = [sys.executable, "-m", "hornbook.bpe"]
only_posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    """A tokenizer of bytes and one special token, saved in the directory `tok`."""
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [], ["<|endoftext|>"])
    tokenizer.save("tok")
    return tokenizer


def start(argv: Sequence[str], **streams: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*MODULE, *argv], stderr=subprocess.PIPE, **streams)  # type: ignore[call-overload, no-any-return]


def test_text_goes_through_two_pipes_and_comes_back_byte_for_byte() -> None:
    # What a text stream would change: line ends, a byte order mark, the end-of-file sign of DOS.
    text = b"\xef\xbb\xbfa\r\nb\rc\x00\x1a " + "né 🐈\u2028".encode() + b"<|endoftext|>"
    encode = subprocess.run(
        [*MODULE, "encode", "-", "--tokenizer", "tok"], input=text, capture_output=True, check=True
    )
    assert encode.stdout == b" ".join(b"%d" % byte for byte in text[:-13]) + b" 256\n"
    decode = subprocess.run(
        [*MODULE, "decode", "-", "--tokenizer", "tok"],
        input=encode.stdout,
        capture_output=True,
        check=True,
    )
    assert decode.stdout == text
    assert encode.stderr == decode.stderr == b""


def test_help_does_not_load_what_a_command_needs() -> None:
    script = (
        "import sys; from hornbook.bpe.__main__ import main; before = set(sys.modules);"
        "assert main(['--help']) == 0; sys.stderr.write(' '.join(set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = result.stderr.decode().split()
    assert not [name for name in loaded if name.startswith(("hornbook", "numpy"))]
    assert b"for example:" in result.stdout


@only_posix
def test_a_reader_that_goes_away_ends_the_command_in_silence() -> None:
    Path("long.txt").write_text("some words " * 200_000, encoding="utf-8")
    process = start(["encode", "long.txt", "--tokenizer", "tok"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE
    process.stderr.close()


@only_posix
def test_a_full_disk_is_an_error_of_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("Linux has /dev/full")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([*MODULE, "info"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (result.returncode, result.stderr) == (2, b"error: No space left on device\n")


@only_posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "argv",
    [
        ["train", "-", "--vocab-size", "300", "--out", "made"],
        ["count", "-", "--out", "made"],
        ["encode", "-", "--tokenizer", "tok", "--out", "made"],
    ],
)
def test_a_signal_ends_the_work_and_leaves_nothing_half_written(
    argv: list[str], number: signal.Signals, code: int
) -> None:
    before = sorted(Path().rglob("*"))
    process = start(argv, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    # More than a pipe holds: once it is written, the command is at work.
    process.stdin.write(b"some words " * 200_000)
    process.stdin.flush()
    process.send_signal(number)
    process.stdin.close()  # as the end of a pipe does, whose other commands had the same Ctrl-C
    said = process.stderr.read()
    assert process.wait() == code
    assert said == (b"interrupted; nothing half written is left\n" if code == 130 else b"")
    assert sorted(Path().rglob("*")) == before
    process.stderr.close()


def test_wrong_usage_is_status_2_and_one_line() -> None:
    result = subprocess.run([*MODULE, "encode"], capture_output=True, check=False)
    assert result.returncode == 2
    assert result.stdout == b""
    missing = "error: the following arguments are required: INPUT, --tokenizer"
    assert result.stderr.decode().splitlines() == [
        f"{missing}; `python -m hornbook.bpe encode --help` explains"
    ]


def test_a_misspelt_option_is_named_and_not_the_one_that_is_missing_then() -> None:
    result = subprocess.run([*MODULE, "encode", "a", "--tokenizr=tok"], capture_output=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: there is no --tokenizr; the nearest is --tokenizer; `python")


@only_posix
def test_what_a_killed_training_left_goes_with_the_next_one(tmp_path: Path) -> None:
    train = [*MODULE, "train", "-", "--vocab-size", "300", "--out", "made"]
    with subprocess.Popen(train, stdin=subprocess.PIPE, cwd=tmp_path) as killed:
        while not list(tmp_path.glob(".made.*")):
            time.sleep(0.01)
        killed.kill()
    assert list(tmp_path.glob(".made.*"))
    subprocess.run(train, input=b"a text", cwd=tmp_path, check=True, capture_output=True)
    assert [path.name for path in tmp_path.iterdir() if "made" in path.name] == ["made"]


def test_a_core_that_cannot_be_loaded_is_one_warning() -> None:
    result = subprocess.run(
        [*MODULE, "encode", "-", "--tokenizer", "tok"],
        env={name: value for name, value in os.environ.items() if name != "HORNBOOK_BPE_PURE"}
        | {"HORNBOOK_BPE_CORE": "no such core"},
        input=b"a",
        capture_output=True,
        check=True,
    )
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("warning: hornbook.bpe runs in pure Python")
    assert result.stdout == b"97\n"


def test_an_error_moves_no_cursor_whatever_a_file_is_called() -> None:
    result = subprocess.run(
        [*MODULE, "encode", "a\x1b[2J\nb", "--tokenizer", "tok"], capture_output=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith(rb"error: there is no file a\x1b[2J\x0ab (looked from ")
    assert result.stderr.count(b"\n") == 1


def test_a_terminal_without_unicode_gets_escapes() -> None:
    Path("cat.txt").write_bytes("🐈 ".encode())
    result = subprocess.run(
        [*MODULE, "show", "cat.txt", "--tokenizer", "tok", "--quiet"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert result.stdout == rb"\xf0|\x9f|\x90|\x88|\xb7|" + b"\n"
