"""A sink that can neither stop nor slow a run."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from .evaluation import Evaluation
from .logs import Row, Sink

logger = logging.getLogger(__name__)

_END = object()


class BackgroundSink:
    """Hands what it is told to another sink in a thread of its own.

    What the other one does can't reach the run: an error is logged once, and the sink is told no more; if it
    is slow, rows wait in a queue, and are left out when that is full; if it hangs, the run ends without it.

    Args:
        make: Makes the other sink, in the thread: an import that takes seconds delays nothing.
        name: What the log calls it.
        capacity: Rows that may wait.
        close_seconds: How long the end of the run waits for the rest to be told.

    Example:
        >>> from hornbook.trainer import CsvSink
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
        >>> sink = BackgroundSink(lambda: CsvSink(path), "CSV")
        >>> sink.start(0)
        >>> sink.close()
        >>> path.exists()
        True
    """

    def __init__(
        self, make: Callable[[], Sink], name: str, *, capacity: int = 1000, close_seconds: float = 10.0
    ) -> None:
        self._name = name
        self._close_seconds = close_seconds
        self._queue: queue.Queue[Any] = queue.Queue(capacity)
        self._num_left_out = 0
        # A daemon: the process ends even if the sink hangs.
        self._thread = threading.Thread(target=self._work, args=(make,), name=f"sink {name}", daemon=True)
        self._thread.start()

    def start(self, step: int) -> None:
        """Pass it on."""
        self._tell("start", step)

    def log(self, row: Row) -> None:
        """Pass it on."""
        self._tell("log", row)

    def evaluated(self, step: int, evaluation: Evaluation) -> None:
        """Pass it on."""
        self._tell("evaluated", step, evaluation)

    def close(self) -> None:
        """Wait until all is told, but no longer than `close_seconds`."""
        until = time.monotonic() + self._close_seconds
        try:
            self._queue.put(_END, timeout=self._close_seconds)
        except queue.Full:
            pass
        else:
            self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            logger.warning("%s has not taken all rows in %g s: left behind", self._name, self._close_seconds)
        if self._num_left_out:
            logger.warning("%s was too slow for %d rows", self._name, self._num_left_out)

    def _tell(self, method: str, *arguments: Any) -> None:
        if not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait((method, arguments))
        except queue.Full:
            self._num_left_out += 1

    def _work(self, make: Callable[[], Sink]) -> None:
        try:
            sink = make()
            while (told := self._queue.get()) is not _END:
                method, arguments = told
                getattr(sink, method)(*arguments)
            sink.close()
        except BaseException as error:  # SystemExit of a library too
            logger.warning("%s is told no more: %s: %s", self._name, type(error).__name__, error)
