"""kill -9, at random moments of a run and at every point of a save."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.compare import assert_same_end, names_in
from faults.conftest import Server
from faults.points import POINTS
from hornbook.trainer import Checkpoints, verify_checkpoint
from tiny_run import Bigram, adamw


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    server: Server,
    straight: tuple[Path, float],
    tmp_path: Path,
    times: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    reference, seconds = straight
    kills, runs, most = 0, 0, times(20, 300)
    while kills < most:
        runs += 1
        generator = random.Random(runs)
        run, asynchronous = tmp_path / str(runs), runs % 2 == 0
        code = -9
        while code == -9:  # the same command again, and again, until it comes to its end
            moment = generator.uniform(0, seconds) if kills < most else None
            done = server.run("train", moment, directory=str(run), asynchronous=asynchronous)
            code = done["code"]
            kills += code == -9
        assert code == 0, done["output"]
        assert_same_end(run, reference)
    figure(
        f"kill -9 at random moments: {kills} kills in {runs} runs, same bits; half of them save in a thread"
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_a_point_of_a_save_has_the_one_before(
    point: str,
    server: Server,
    straight: tuple[Path, float],
    tmp_path: Path,
    times: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    survived, most = 0, times(3, 30)
    for number in range(most):
        generator = random.Random(f"{point} {number}")
        save = generator.randint(3, 6) if point == "while pruning" else generator.randint(1, 6)
        kill = {"point": point, "save": save, "call": generator.choice([0, 0, 1, 2, 3, 4])}
        if point in ("before rename", "before the pointer"):  # once in a save
            kill["call"] = 0
        run, asynchronous = tmp_path / str(number), number % 2 == 0
        done = server.run("train", directory=str(run), asynchronous=asynchronous, kill=kill)
        assert done["code"] == -9, (kill, done["output"])
        # What has the name of a checkpoint is one, so is the one before; `latest` is moved last.
        checkpoints = Checkpoints(run / "checkpoints")
        for path in checkpoints.paths():
            verify_checkpoint(path)
        before, this = (save - 1) * 4, save * 4
        expected = this if point == "while pruning" else before
        latest = checkpoints.latest()
        assert (int(latest.name[5:]) if latest else 0) == expected
        model = Bigram()
        restored = checkpoints.restore(model, adamw(model))
        if point == "before the pointer":  # it is whole already, and the newest
            assert before == 0 or checkpoints.path_of(before).exists()
            expected = this
        assert (restored.step if restored else 0) == expected
        assert not any(".part" in name for name in names_in(run)), "stray after a restart"
        done = server.run("train", directory=str(run), asynchronous=asynchronous)
        assert done["code"] == 0, done["output"]
        assert_same_end(run, straight[0])
        survived += 1
    figure(f"kill -9 in a save, {point}: {survived} of {most}")
