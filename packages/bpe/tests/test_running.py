"""Promises about processes: what is imported, who starts, who dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hornbook.bpe import pool
from hornbook.bpe.counting import CountJob, count_pretokens

SOURCE = Path(pool.__file__).parents[2]
only_posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

# Small pieces reach the workers sooner; the progress line and the ids of workers tell the test when.
PARALLEL = """
    import subprocess, sys
    start = subprocess.Popen

    class Loud(start):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            print("worker", self.pid, flush=True)

    subprocess.Popen = Loud
    from pathlib import Path
    from hornbook.bpe import counting
    counts = counting.count_pretokens(
        Path("text.txt"), ["<e>"], 2, lambda *call: print(*call, flush=True), piece_bytes=1000
    )
    print(sum(counts.values()), "torch" in sys.modules)
"""


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
    assert not {"torch", "regex", "multiprocessing", "subprocess", "tempfile"} & (
        set(loaded) - set(numpys(tmp_path))
    )


def numpys(folder: Path) -> list[str]:
    return run("import sys, numpy; print(*sys.modules)", folder).split()


def test_a_script_without_main_guard_trains_in_parallel_and_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat<e> sat " * 200_000, encoding="utf-8")
    output = run(
        """
        print("started")
        from hornbook.bpe import pool, train_bpe
        pool._PIECES_TO_START = 1
        print([train_bpe("text.txt", 260, ["<e>"], num_processes=n)[1] for n in (1, 2)])
        """,
        tmp_path,
    )
    merges = [(b"a", b"t"), (b"t", b"h"), (b"th", b"e")]
    assert output == f"started\n{[merges, merges]}\n"


def test_workers_find_the_package_through_a_relative_search_path(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat " * 5_000, encoding="utf-8")
    output = run(PARALLEL, tmp_path, PYTHONPATH=os.path.relpath(SOURCE, tmp_path))
    assert output.count("worker") == 2
    assert output.endswith("\n10001 False\n")


def test_workers_import_what_this_process_would(tmp_path: Path) -> None:
    copy = shutil.copytree(SOURCE / "hornbook/bpe", tmp_path / "elsewhere/hornbook/bpe")
    with (copy / "pretokenize.py").open("a") as file:
        file.write("\n\ndef pretokenize(text): return [word.upper() for word in text.split()]\n")
    (tmp_path / "text.txt").write_text("the cat " * 5_000, encoding="utf-8")
    output = run(
        """
        import sys
        sys.path.insert(0, "elsewhere")
        from pathlib import Path
        from hornbook.bpe.counting import count_pretokens
        print(dict(count_pretokens(Path("text.txt"), [], 2, piece_bytes=1000)))
        """,
        tmp_path,
    )
    assert output == "{'THE': 5000, 'CAT': 5000}\n"


@only_posix
def test_a_program_that_handles_ctrl_c_keeps_its_workers(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat " * 200_000, encoding="utf-8")
    handler = 'import signal; signal.signal(signal.SIGINT, lambda *_: print("noticed", flush=True))\n'
    (tmp_path / "script.py").write_text(handler + textwrap.dedent(PARALLEL), encoding="utf-8")
    command = [sys.executable, "script.py"]
    parent = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    while not (line := parent.stdout.readline()).startswith("count "):
        assert line.startswith("worker")
    os.killpg(parent.pid, signal.SIGINT)
    output, _ = parent.communicate()
    assert output.count("noticed") == 1
    assert output.endswith("\n400001 False\n")


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process_id}/stat")  # a process nobody has waited for yet is dead all the same
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@only_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent_and_quietly(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat " * 1_000_000, encoding="utf-8")
    (tmp_path / "script.py").write_text(textwrap.dedent(PARALLEL), encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline().split()[1]) for _ in range(2)]
    assert parent.stdout.readline().startswith("count ")
    os.killpg(parent.pid, number)  # as the terminal does: to everyone in the foreground
    _, complaints = parent.communicate()
    assert complaints.count("Traceback") == (number == signal.SIGINT)
    assert complaints.count("KeyboardInterrupt") == (number == signal.SIGINT)
    patience = time.monotonic() + 30
    while any(map(is_alive, workers)) and time.monotonic() < patience:
        time.sleep(0.01)
    assert not any(map(is_alive, workers))


def test_a_failure_in_a_worker_reaches_the_parent_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat " * 1_000, encoding="utf-8")
    monkeypatch.setattr(CountJob, "settings", lambda self: {"job": "count", "special_tokens": [1]})
    with pytest.raises(RuntimeError, match=r"a worker process died with status 1: Traceback(.|\n)*TypeError"):
        count_pretokens(path, [], 2, piece_bytes=100)


def test_a_worker_that_dies_without_a_word_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat " * 1_000, encoding="utf-8")
    monkeypatch.setattr(pool, "_START", "raise SystemExit(7)")
    with pytest.raises(RuntimeError, match="a worker process died with status 7: it gave no reason"):
        count_pretokens(path, [], 2, piece_bytes=100)


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the cat", encoding="utf-8")
    with pytest.raises(ValueError, match="was cut short while it was being read: it had 10 bytes, now 7"):
        pool.read_piece(path, 5, 10)


def test_a_worker_without_orders_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", pool._START, json.dumps([str(SOURCE), *sys.path])]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")
