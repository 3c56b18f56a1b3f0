"""A save on its way to the disk while training goes on."""

import threading
from collections.abc import Callable


class BackgroundSave:
    """Runs one save at a time in a thread; who begins or waits hears of the error of the one before.

    Example:
        >>> saving, written = BackgroundSave(), []
        >>> saving.begin(lambda: written.append("step-00000400"))
        >>> saving.wait()
        >>> written
        ['step-00000400']
    """

    def __init__(self) -> None:
        self._thread: _Write | None = None

    def begin(self, write: Callable[[], None]) -> None:
        """Run `write` in a thread, when the one before has ended.

        Raises:
            BaseException: What the one before raised; then `write` is not run.
        """
        self.wait()
        self._thread = _Write(write)

    def wait(self) -> None:
        """Return when nothing is on its way any more.

        Raises:
            BaseException: What it raised; once.
        """
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.join()
            if thread.error is not None:
                raise thread.error


class _Write(threading.Thread):
    """Python waits for it before it exits, since it is no daemon."""

    def __init__(self, write: Callable[[], None]) -> None:
        super().__init__(name="hornbook-checkpoint")
        self.error: BaseException | None = None
        self._write = write
        self.start()

    def run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self.error = error
