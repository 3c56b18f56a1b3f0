"""A process that has imported torch once and forks a child for each job: a start would take seconds.

It reads a line of JSON at a time and answers with one:

    {"start": JOB, "arguments": {…}}           {"pid": …}
    {"wait": PID, "kill_after": SECONDS}       {"code": …, "output": …, "seconds": …}; code -9: killed
"""

import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from faults import jobs


def main() -> int:
    """Serve until the input ends."""
    with tempfile.TemporaryDirectory() as warm:  # what torch imports at its first step takes seconds
        assert jobs.train(warm) == 0
    assert threading.active_count() == 1, "a fork of a process with threads may hang"
    gc.freeze()  # a collection would write to every object, and so copy all of the memory in each child
    running: dict[int, tuple[float, Path]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            output = Path(tempfile.mkstemp(prefix="hornbook-fault-")[1])
            pid = os.fork()
            if pid == 0:
                child(asked["start"], asked["arguments"], output)
            running[pid] = (time.monotonic(), output)
            answer: dict[str, Any] = {"pid": pid}
        else:
            began, output = running.pop(asked["wait"])
            code = wait_for(asked["wait"], asked["kill_after"])
            seconds = time.monotonic() - began
            answer = {"code": code, "output": output.read_text(errors="replace"), "seconds": seconds}
            output.unlink()
        print(json.dumps(answer), flush=True)
    return 0


def child(job: str, arguments: dict[str, Any], output: Path) -> NoReturn:
    """Do a job, its words in a file; then wait for its threads, as any Python does."""
    gc.disable()
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 1
    try:
        code = getattr(jobs, job)(**arguments)
    except BaseException:
        traceback.print_exc()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait_for(pid: int, kill_after: float | None) -> int:
    """Wait for a child, at most so long, then kill it as nothing can be caught."""
    if kill_after is not None:
        deadline = time.monotonic() + kill_after
        while time.monotonic() < deadline:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.0005)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
