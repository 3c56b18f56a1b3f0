"""Two runs in one directory, and the lock of a dead one."""

import time
from collections.abc import Callable
from pathlib import Path

from faults.conftest import Server


def test_the_second_of_two_runs_is_refused_and_a_dead_ones_lock_taken_over(
    server: Server, straight: tuple[Path, float], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    slowest = 0.0
    for number in range(10):
        run = tmp_path / str(number)
        holder = server.start("hold", directory=str(run))
        while not (run / "config.json").exists():
            time.sleep(0.001)
        second = server.run("train", directory=str(run))
        assert second["code"] == 2
        assert f"{run} is in use by process {holder} on " in second["output"]
        slowest = max(slowest, second["seconds"])
        assert server.wait(holder, kill_after=0.0)["code"] == -9
        assert server.run("train", directory=str(run))["code"] == 0
    figure(f"two runs in one directory: 10 of 10 refused, naming the process, the slowest in {slowest:.2f} s")
