"""Faults in number: HORNBOOK_FAULTS=large for the greater one of each, as `nox -s faults` sets it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LARGE = os.environ.get("HORNBOOK_FAULTS") == "large"
TESTS = Path(__file__).parents[1]


@pytest.fixture
def times() -> Callable[[int, int], int]:
    """Chooses how often: the smaller number, or the larger one where it was asked for."""
    return lambda small, large: large if LARGE else small


class Server:
    """Runs jobs in children of a process that is warm already."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, job: str, **arguments: Any) -> int:
        """Start a job; its process id."""
        return int(self._ask({"start": job, "arguments": arguments})["pid"])

    def wait(self, pid: int, kill_after: float | None = None) -> dict[str, Any]:
        """Wait for its end, or kill it: code, output, seconds."""
        return self._ask({"wait": pid, "kill_after": kill_after})

    def run(self, job: str, kill_after: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Both."""
        return self.wait(self.start(job, **arguments), kill_after)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if sys.platform != "linux":
        pytest.skip("forks and /proc as on Linux")
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "faults.forkserver"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Server(process)
        assert process.stdin
        process.stdin.close()


@pytest.fixture(scope="session")
def straight(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nothing happened to, and the seconds it took."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    done = server.run("train", directory=str(directory))
    assert done["code"] == 0, done["output"]
    return directory, float(done["seconds"])
