"""Promises about running: what is imported, what an interrupt leaves behind, how much is held."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from pathlib import Path

import pytest

from hornbook.bpe import train_bpe
from hornbook.bpe.counting import count_source
from hornbook.bpe.cuts import SafeCuts
from hornbook.bpe.patterns import find_pattern
from hornbook.bpe.sources import open_source

only_posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def interrupt(script: str, folder: Path, begins: str) -> None:
    """Interrupt a script that would never end, once it has printed its first line."""
    (folder / "script.py").write_text(textwrap.dedent(script), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(begins)
    os.killpg(process.pid, signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert complaints.count("Traceback") == complaints.count("KeyboardInterrupt") == 1
    assert process.returncode == -signal.SIGINT


def run(script: str, folder: Path, **environment: str) -> str:
    (folder / "script.py").write_text(textwrap.dedent(script), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_loads_neither_torch_nor_what_only_some_programs_need(tmp_path: Path) -> None:
    loaded = run("import sys, hornbook.bpe; print(*sys.modules)", tmp_path).split()
    numpys = run("import sys, numpy; print(*sys.modules)", tmp_path).split()
    rarely_needed = {"torch", "regex", "multiprocessing", "subprocess", "tempfile", "zstandard"}
    assert not rarely_needed & (set(loaded) - set(numpys))


def test_training_takes_neither_torch_nor_regex(tmp_path: Path) -> None:
    output = run(
        """
        import sys
        from hornbook.bpe import train_bpe
        print(train_bpe(iter(["thé cat \U0001d49c<e>"] * 100), 260, ["<e>"], num_threads=2)[1])
        print("torch" in sys.modules, "regex" in sys.modules)
        """,
        tmp_path,
    )
    assert output.endswith("False False\n")


@only_posix
def test_ctrl_c_ends_training_at_once_with_one_traceback(tmp_path: Path) -> None:
    # The text never ends: only the interrupt can end the process.
    script = """
        import itertools
        from hornbook.bpe import train_bpe
        show = lambda *call: print(*call, flush=True)
        train_bpe(itertools.repeat("the cat<e> sat " * 10_000), 300, ["<e>"], num_threads=3, progress=show)
    """
    interrupt(script, tmp_path, "count ")


@only_posix
def test_ctrl_c_ends_a_batch_at_once(tmp_path: Path) -> None:
    # The texts never end: only the interrupt can end the process.
    script = """
        import itertools
        from hornbook.bpe import Tokenizer
        def texts():
            for number in itertools.count():
                print(number, flush=True)
                yield "the cat sat " * 100_000
        Tokenizer({value: bytes([value]) for value in range(256)}, []).encode_batch(texts(), num_threads=3)
    """
    interrupt(script, tmp_path, "0")


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_error_of_progress_stops_the_work_and_no_thread_is_left(num_threads: int) -> None:
    calls = []

    def stop(*call: object) -> None:
        calls.append(call)
        if len(calls) == 3:
            msg = "enough"
            raise RuntimeError(msg)

    texts = iter(["some words " * 200_000] * 30)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="enough"):
        train_bpe(texts, 300, [], num_threads=num_threads, progress=stop)
    assert threading.active_count() == before
    assert len(calls) == 3
    assert next(texts, None) is not None  # it was not read to its end


class _Stream:
    """So many MB of text, never more than 92 KB at a time."""

    def __init__(self, num_megabytes: int) -> None:
        self.left = num_megabytes * 1_000_000

    def read(self, size: int, /) -> bytes:
        text = b"the cat sat on the mat\n" * 4_000
        self.left -= len(text)
        return text if self.left >= 0 else b""


def test_memory_does_not_grow_with_the_text() -> None:
    pattern = find_pattern("gpt2")
    tracemalloc.start()
    try:
        for _ in open_source(_Stream(50)).blocks(SafeCuts(pattern, []), 1 << 16):
            pass
        _, reading = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        count_source(open_source(_Stream(4)), [], pattern, 2, block_bytes=1 << 14)
        _, counting = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reading < 1_000_000
    assert counting < 2_000_000
