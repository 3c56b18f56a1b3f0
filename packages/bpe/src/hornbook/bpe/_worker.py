"""A worker process: `pool` starts it and says what to do."""

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

from .counting import CountJob
from .pool import read_piece
from .tokenizer import EncodeJob


def main() -> None:
    """Answer orders from standard input until it ends."""
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        os._exit(1)  # the parent is gone: nobody to tell, and flushing at exit would only complain


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """The first order says which job and file; the others name pieces; "finish" asks for the summary."""
    settings = json.loads(orders.readline() or "null")
    if settings is None:
        return
    jobs: dict[str, type[CountJob | EncodeJob]] = {"count": CountJob, "encode": EncodeJob}
    job = jobs[settings["job"]].from_settings(settings)
    path = Path(settings["path"])
    for line in orders:
        order = json.loads(line)
        try:
            result = job.finish() if order == "finish" else job.piece(read_piece(path, *order))
        except Exception as error:  # whatever it is, the parent must hear of it
            is_ours = isinstance(error, ValueError)
            message = str(error) if is_ours else f"{type(error).__name__} in a worker process: {error}"
            header: dict[str, object] = {
                "error": "ValueError" if is_ours else "RuntimeError",
                "message": message,
            }
            result = b""
        else:
            header = {"size": len(result)}
        answers.write(json.dumps(header).encode() + b"\n" + result)
        answers.flush()
