"""Work through the pieces of a file, in this process or in several.

Workers are fresh interpreters, started by hand rather than by `multiprocessing`: a script then needs no
`if __name__ == "__main__"`, and nothing the script has imported is imported again. Orders go to a worker's
standard input as lines of JSON; an answer is a line of JSON with a size and then as many raw bytes.
A worker ends when its input ends, thus at the latest one piece after its parent, however that died.
"""

import contextlib
import json
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

# The worker looks for modules where this process does. -P keeps the working directory out until then.
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from hornbook.bpe import _worker
_worker.main()
"""

_PIECES_AHEAD = 2  # a worker always has its next order waiting
_PIECES_TO_START = 8  # starting a worker takes as long as 5 to 8 MB take one that runs


class Job(Protocol):
    """What is done to each piece. Results are bytes, so that they cross processes as they are."""

    def settings(self) -> dict[str, Any]:
        """Values for JSON from which a worker remakes the job; "job" names it."""

    def piece(self, text: str) -> bytes:
        """The result for one piece."""

    def finish(self) -> bytes:
        """The result of this process as a whole."""


def run_job(
    job: Job, path: Path, pieces: Sequence[tuple[int, int]], num_processes: int
) -> Generator[bytes, None, None]:
    """Yield the result of each piece, in order, and then each process's own.

    Workers start only if there are enough pieces for each; with fewer, this process does the work.
    Closing the generator ends the workers.
    """
    num_workers = min(num_processes, len(pieces) // _PIECES_TO_START)
    if num_workers <= 1:
        for start, end in pieces:
            yield job.piece(read_piece(path, start, end))
        yield job.finish()
        return
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker() for _ in range(num_workers))
        for worker in workers:
            worker.send({"path": str(path), **job.settings()})
        ahead = _PIECES_AHEAD * num_workers
        for index, piece in enumerate(pieces[:ahead]):
            workers[index % num_workers].send(piece)
        for index in range(len(pieces)):
            worker = workers[index % num_workers]
            result = worker.receive()
            if index + ahead < len(pieces):
                worker.send(pieces[index + ahead])
            yield result
        for worker in workers:
            worker.send("finish")
        for worker in workers:
            yield worker.receive()
    finally:
        for worker in workers:
            worker.kill()


def read_piece(path: Path, start: int, end: int) -> str:
    """Read the bytes from `start` to `end` as UTF-8; line ends stay as they are.

    Raises:
        ValueError: If they are not UTF-8, or the file has become shorter.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(end - start)
    if len(data) != end - start:
        msg = f"{path} was cut short while it was being read: it had {end} bytes, now {start + len(data)}"
        raise ValueError(msg)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        msg = f"{path} is not valid UTF-8: byte 0x{data[error.start]:02x} at offset {start + error.start}"
        raise ValueError(msg) from None


class _Worker:
    """One worker process, as its parent sees it."""

    def __init__(self) -> None:
        import subprocess  # here, because together they take 10 ms and most programs start no worker
        import tempfile

        search_path = [str(Path(entry or ".").absolute()) for entry in sys.path]
        # A file: nobody would read a pipe while we wait for answers, and a full one blocks the worker.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(search_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends its workers
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def send(self, order: object) -> None:
        try:
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()
        except BrokenPipeError:
            self._raise_death()

    def receive(self) -> bytes:
        header = self._answers.readline()
        answer = json.loads(header) if header.endswith(b"\n") else self._raise_death()
        if "error" in answer:
            error_type = ValueError if answer["error"] == "ValueError" else RuntimeError
            raise error_type(answer["message"])
        data = self._answers.read(answer["size"])
        return data if len(data) == answer["size"] else self._raise_death()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._complaints.close()
        with contextlib.suppress(BrokenPipeError):  # an order may still lie in the buffer
            self._orders.close()

    def _raise_death(self) -> Any:
        status = self._process.wait()
        self._complaints.seek(0)
        complaint = self._complaints.read().decode(errors="replace").strip()
        msg = f"a worker process died with status {status}: {complaint or 'it gave no reason'}"
        raise RuntimeError(msg)
