"""A save on its way to the disk while training goes on."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

_MOST_FAILURES = 2


class BackgroundSave:
    """Runs one save at a time in a thread. A failure is logged at once, and the next save is tried.

    It is raised where no next save mends it: if two in a row have failed, or if the last one has.

    Example:
        >>> saving, written = BackgroundSave(), []
        >>> saving.begin(Path("step-00000400"), lambda: written.append(400))
        >>> saving.wait()
        >>> written
        [400]
    """

    def __init__(self) -> None:
        self._thread: _Write | None = None
        self._errors: list[BaseException] = []  # of the last saves, all in a row that failed

    def make_way(self) -> None:
        """Return when the save before has ended, well or not: what it wrote from may change.

        Raises:
            BaseException: What it raised, if the one before it had failed as well.
        """
        self._join()
        if len(self._errors) >= _MOST_FAILURES:
            self._raise()

    def begin(self, path: Path, write: Callable[[], None], *, copy: Callable[[], None] | None = None) -> None:
        """Run `copy` and then `write` in a thread, when there is way.

        Args:
            path: What it writes, for the log.
            write: The save.
            copy: Takes what may change when `copied` has returned.
        """
        self.make_way()
        self._thread = _Write(path, copy, write)

    def copied(self) -> None:
        """Return when the save that is on its way, if one is, needs nothing any more that may change."""
        if self._thread is not None:
            self._thread.copied.wait()

    def wait(self) -> None:
        """Return when nothing is on its way any more.

        Raises:
            BaseException: What the last save raised; once.
        """
        self._join()
        if self._errors:
            self._raise()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            thread, self._thread = self._thread, None  # not before: Ctrl-C may have ended the wait
            self._errors = [] if thread.error is None else [*self._errors, thread.error]

    def _raise(self) -> None:
        errors, self._errors = self._errors, []
        raise errors[-1]


def saves_on_their_way() -> list[threading.Thread]:
    """Return the threads of this process that write a checkpoint; Ctrl-C ends a wait for one, no more."""
    return [thread for thread in threading.enumerate() if isinstance(thread, _Write)]


def when_written(action: Callable[[], None]) -> None:
    """Do something when no save is on its way in this process: now, or in a thread after the last one."""
    saves = saves_on_their_way()

    def later() -> None:
        for thread in saves:
            thread.join()
        action()

    if saves:
        threading.Thread(target=later, name="hornbook-after-checkpoint").start()
    else:
        action()


class _Write(threading.Thread):
    """Python waits for it before it exits, since it is no daemon."""

    def __init__(self, path: Path, copy: Callable[[], None] | None, write: Callable[[], None]) -> None:
        super().__init__(name="hornbook-checkpoint")
        self.error: BaseException | None = None
        self.copied = threading.Event()
        self._path = path
        self._copy = copy
        self._write = write
        self.start()

    def run(self) -> None:
        try:
            try:
                if self._copy is not None:
                    self._copy()
            finally:
                self.copied.set()
            self._write()
        except BaseException as error:
            self.error = error
            logger.error("%s is not saved, the next save will be tried: %s", self._path, error)
