"""Disks that fill up while a run saves, while it logs, while a corpus is encoded."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.compare import assert_same_end
from faults.conftest import Server
from hornbook.trainer import Checkpoints
from tiny_run import Bigram, adamw

SAID = re.compile(r"error: no room to write (\S+) \((more than )?[\d,]+ bytes needed\): free some space")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_save_that_finds_no_room_says_where_and_how_much_and_the_last_one_loads(
    asynchronous: bool,
    server: Server,
    straight: tuple[Path, float],
    tmp_path: Path,
    figure: Callable[[str], None],
) -> None:
    sizes = sorted(path.stat().st_size for path in (straight[0] / "checkpoints" / "step-00000024").iterdir())
    limits = [0, sizes[0] - 1, sizes[0], sizes[-2], sizes[-1] - 1]
    for limit in limits:
        run = tmp_path / str(limit)
        kill = {"point": "open", "save": 3, "call": 0}
        assert server.run("train", directory=str(run), kill=kill)["code"] == -9  # there is a last one
        before = Checkpoints(run / "checkpoints").latest()
        done = server.run("train", directory=str(run), asynchronous=asynchronous, most_file_bytes=limit)
        assert done["code"] == 2, done["output"]
        assert SAID.search(done["output"]), done["output"]
        model = Bigram()
        restored = Checkpoints(run / "checkpoints").restore(model, adamw(model))
        assert (restored.path if restored else None) == before
        assert server.run("train", directory=str(run))["code"] == 0
        assert_same_end(run, straight[0])
    figure(f"disk full while saving{' beside the training' * asynchronous}: {len(limits)} points")


def test_a_disk_that_is_full_for_one_save_beside_the_training_ends_no_run(
    server: Server, straight: tuple[Path, float], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    largest = max(path.stat().st_size for path in (straight[0] / "checkpoints" / "step-00000024").iterdir())
    steps = [4, 8, 12, 16]
    for step in steps:
        run = tmp_path / str(step)
        full = {"most_file_bytes": largest - 1, "full_at": step}
        done = server.run("train", directory=str(run), asynchronous=True, **full)
        assert done["code"] == 0, done["output"]
        said = re.search(
            r"(\S+) is not saved, the next save will be tried: .*no room to write", done["output"]
        )
        assert said and said[1].endswith(f"step-{step:08d}"), done["output"]
        assert_same_end(run, straight[0])
    figure(f"disk full for one save beside the training: logged, same bits: {len(steps)} of {len(steps)}")


def test_a_log_that_finds_no_room_says_where_and_how_much(
    server: Server, straight: tuple[Path, float], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    limits = [300, 600, 900]
    for limit in limits:
        run = tmp_path / str(limit)
        server.run("train", directory=str(run), interval=1000, kill_after=0.0)
        done = server.run("train", directory=str(run), interval=1000, most_file_bytes=limit)
        assert done["code"] == 2
        said = SAID.search(done["output"])
        assert said and said[1] == str(run / "metrics.csv"), done["output"]
        assert server.run("train", directory=str(run))["code"] == 0
        assert_same_end(run, straight[0])
    figure(f"disk full while logging: {len(limits)} points")


def test_a_bad_step_that_finds_no_room_says_where_and_how_much(
    server: Server, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    path = tmp_path / "bad_steps.jsonl"
    assert server.run("record_bad_step", path=str(path), step=7, most_file_bytes=10**6)["code"] == 0
    before = path.read_bytes()
    for limit in (0, len(before) // 2, len(before), len(before) + 10):
        done = server.run("record_bad_step", path=str(path), step=8, most_file_bytes=limit)
        assert done["code"] == 2
        said = SAID.search(done["output"])
        assert said and said[1] == str(path), done["output"]
        assert path.read_bytes().startswith(before)
    figure("disk full while writing down a bad step: 4 points")


def test_encoding_that_finds_no_room_says_where_and_how_much(
    server: Server, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    limits = [0, 5_000, 199_999]
    for limit in limits:
        done = server.run("encode", path=str(tmp_path / "train.bin"), most_file_bytes=limit)
        assert done["code"] == 2
        said = SAID.search(done["output"])
        assert said and said[1] == str(tmp_path / "train.bin"), done["output"]
        assert list(tmp_path.iterdir()) == []
    figure(f"disk full while encoding: {len(limits)} points")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many kilobytes, where we may."""
    made: list[Path] = []

    def make(kilobytes: int) -> Path:
        disk = tmp_path / f"disk-{kilobytes}"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a disk in memory")
        made.append(disk)
        return disk

    yield make
    for disk in made:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(
    server: Server,
    straight: tuple[Path, float],
    small_disk: Callable[[int], Path],
    figure: Callable[[str], None],
) -> None:
    sizes = [4, 8, 12, 16, 24, 40, 56, 72, 88, 104]  # kilobytes; a checkpoint takes some 40
    full = 0
    for kilobytes in sizes:
        disk = small_disk(kilobytes)
        done = server.run("train", directory=str(disk / "run"), asynchronous=kilobytes % 16 == 0)
        if done["code"] == 0:
            continue
        full += 1
        assert done["code"] == 2
        assert SAID.search(done["output"]), done["output"]
        model = Bigram()
        Checkpoints(disk / "run" / "checkpoints").restore(model, adamw(model))  # whole, or there is none
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert server.run("train", directory=str(disk / "run"))["code"] == 0
        assert_same_end(disk / "run", straight[0])
    assert full >= 5
    figure(f"a disk of {sizes[0]} to {sizes[-1]} kB that is really full: {full} times, then the same bits")
