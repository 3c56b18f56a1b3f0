import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hornbook.trainer import (
    DivergedError,
    RunDirectoryError,
    atomic_directory,
    atomic_file,
    check_configuration,
    run_directory,
)

CONFIGURATION = {"model": {"d_model": 8, "betas": (0.9, 0.95)}, "seed": 0}


def test_the_same_configuration_finds_its_run_again(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    assert not check_configuration(out, CONFIGURATION)
    with run_directory(out, CONFIGURATION, about={"torch": "1"}):
        pass
    assert check_configuration(out, CONFIGURATION)
    with run_directory(out, CONFIGURATION, about={"torch": "2"}):
        pass


def test_another_configuration_is_refused_naming_the_field_and_both_values(tmp_path: Path) -> None:
    with run_directory(tmp_path / "r", CONFIGURATION, about={}):
        pass
    before = (tmp_path / "r" / "config.json").read_bytes()
    other = CONFIGURATION | {"model": {"d_model": 16, "betas": (0.9, 0.95)}}
    with (
        pytest.raises(RunDirectoryError, match=r"a run with model\.d_model = 8, this one has 16"),
        run_directory(tmp_path / "r", other, about={}),
    ):
        pass
    assert (tmp_path / "r" / "config.json").read_bytes() == before


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    for name in ("thesis.tex", ".git"):
        out = tmp_path / name.strip(".")
        out.mkdir()
        (out / name).write_text("mine")
        with (
            pytest.raises(RunDirectoryError, match="is not empty and holds no run"),
            run_directory(out, CONFIGURATION, about={}),
        ):
            pass
        assert (out / name).read_text() == "mine"
    with pytest.raises(RunDirectoryError, match="is a file, not a directory"):
        check_configuration(tmp_path / "git" / ".git", CONFIGURATION)


def test_a_new_run_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(kind: type[BaseException]) -> None:
        with run_directory(tmp_path / "a" / "b", CONFIGURATION, about={}) as out:
            (out / "tokenizer").mkdir()
            (out / "tokenizer" / "vocab.json").write_text("{}")
            raise kind

    for kind in (OSError, KeyboardInterrupt):
        with pytest.raises(kind):
            fail(kind)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DivergedError):
        fail(DivergedError)
    assert (tmp_path / "a" / "b" / "tokenizer" / "vocab.json").exists()


def test_a_run_with_a_checkpoint_outlives_a_failure(tmp_path: Path) -> None:
    def fail() -> None:
        with run_directory(tmp_path / "r", CONFIGURATION, about={}) as out:
            (out / "checkpoints" / "step-00000001").mkdir(parents=True)
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        fail()
    assert (tmp_path / "r" / "checkpoints" / "step-00000001").exists()


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_none(tmp_path: Path) -> None:
    out = tmp_path / "r"
    code = (
        "import sys; from pathlib import Path; from hornbook.trainer import run_directory\n"
        f"with run_directory(Path({str(out)!r}), {CONFIGURATION!r}, about={{}}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(RunDirectoryError, match=f"is in use by process {holder.pid} on "),
            run_directory(out, CONFIGURATION, about={}),
        ):
            pass
        holder.kill()
    with run_directory(out, CONFIGURATION, about={}):
        pass


def test_infinity_in_a_configuration_is_a_word(tmp_path: Path) -> None:
    with run_directory(tmp_path / "r", {"max_grad_norm": float("inf")}, about={}):
        pass
    assert check_configuration(tmp_path / "r", {"max_grad_norm": float("inf")})
    with pytest.raises(RunDirectoryError, match=r'max_grad_norm = "inf", this one has 1\.0'):
        check_configuration(tmp_path / "r", {"max_grad_norm": 1.0})


def test_another_version_of_the_configuration_is_refused_with_both(tmp_path: Path) -> None:
    with run_directory(tmp_path / "r", CONFIGURATION, about={}):
        pass
    file = tmp_path / "r" / "config.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 7'))
    with pytest.raises(RunDirectoryError, match=r"config\.json has version 7, this hornbook reads version 1"):
        check_configuration(tmp_path / "r", CONFIGURATION)


def test_a_file_cut_short_by_a_full_disk_never_appears(tmp_path: Path) -> None:
    # A limit on the size of files is the nearest to a full disk that needs no rights.
    path = tmp_path / "big.bin"
    path.write_bytes(b"old")
    code = (
        "import resource, signal; from pathlib import Path; from hornbook.trainer import atomic_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"with atomic_file(Path({str(path)!r}), needed_bytes=5000) as file: file.write(bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"no room to write {path} (5,000 bytes needed): free some space" in done.stderr
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["big.bin"]


def test_a_full_disk_in_a_directory_is_told_with_the_file_and_its_bytes(tmp_path: Path) -> None:
    def fill(needed_bytes: int | None) -> None:
        with atomic_directory(tmp_path / "entry") as aside:
            (aside / "small").write_bytes(bytes(1234))
            with atomic_file(aside / "large", needed_bytes=needed_bytes) as file:
                file.write(bytes(10))
                raise OSError(errno.ENOSPC, "No space left on device")

    large = re.escape(str(tmp_path / "entry" / "large"))
    with pytest.raises(OSError, match=rf"no room to write {large} \(5,000 bytes needed\): free"):
        fill(5000)
    with pytest.raises(OSError, match=rf"no room to write {large} \(more than 10 bytes needed\): free"):
        fill(None)


def test_a_full_disk_in_a_directory_that_nobody_names_is_told_with_what_was_there_and_what_was_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 4000  # less than what is gone again was to take

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)

    def fill() -> None:
        with atomic_directory(tmp_path / "entry") as aside:
            (aside / "small").write_bytes(bytes(1234))
            raise OSError(errno.ENOSPC, "No space left on device")

    entry = re.escape(str(tmp_path / "entry"))
    with pytest.raises(OSError, match=rf"no room to write {entry} \(more than 5,234 bytes needed\): free"):
        fill()


def test_other_errors_keep_their_name_and_leave_nothing(tmp_path: Path) -> None:
    def half_a_file() -> None:
        with atomic_file(tmp_path / "x") as file:
            file.write(b"half")
            raise PermissionError(errno.EACCES, "not yours")

    def half_a_directory() -> None:
        with atomic_directory(tmp_path / "deep" / "y") as aside:
            (aside / "half").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(PermissionError, match="not yours"):
        half_a_file()
    with pytest.raises(ZeroDivisionError):
        half_a_directory()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "y").mkdir()
    with pytest.raises(FileExistsError, match="y is there already"), atomic_directory(tmp_path / "y"):
        pass
