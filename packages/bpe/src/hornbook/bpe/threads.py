"""Do work on several threads and take the results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# A thread that is done always finds its next item waiting, and the results stay few.
_ITEMS_AHEAD = 2

# Each holds a block of text or its ids.
_CALLS_AHEAD = 8


def ordered_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], num_threads: int
) -> Generator[_Result, None, None]:
    """Yield `function(item)` for each item, in order, worked out on `num_threads` threads.

    The caller's thread is one of them: it takes items from `items`, a few ahead of the results, and works on
    one itself where the others have enough. The first error, of `function` or of `items`, is raised in place
    of its result. However the work ends (by an error, by Ctrl-C, because the generator is closed), no thread
    is left running then.

    Example:
        >>> list(ordered_map(len, ["a", "bc", ""], num_threads=2))
        [1, 2, 0]
    """
    if num_threads == 1:
        for item in items:
            yield function(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # here, because not every program starts threads

    with ThreadPoolExecutor(num_threads - 1, thread_name_prefix="hornbook-bpe") as pool:
        waiting: deque[Future[_Result]] = deque()
        failure: Exception | None = None
        iterator = iter(items)
        try:
            while True:
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                except Exception as error:  # raised below, once the results before it are out
                    failure = error
                    break
                if sum(not future.done() for future in waiting) < _ITEMS_AHEAD * (num_threads - 1):
                    waiting.append(pool.submit(function, item))
                else:
                    waiting.append(_done(function, item))
                while waiting and (waiting[0].done() or len(waiting) > _ITEMS_AHEAD * num_threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if failure is not None:
                raise failure
        finally:
            # What has begun is finished by the end of `with`; what has not is dropped.
            for future in waiting:
                future.cancel()


def _done(function: Callable[[_Item], _Result], item: _Item) -> "Future[_Result]":
    """What a pool would give for the item, worked out here and now."""
    from concurrent.futures import Future

    future: Future[_Result] = Future()
    try:
        future.set_result(function(item))
    except Exception as error:  # raised when its turn comes
        future.set_exception(error)
    return future


class Sideline:
    """Does calls one after another, on a thread of its own, while the caller goes on; for a `with` statement.

    Only a few calls wait at a time, so that what they hold stays small. One thread means no thread.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        if self._num_threads > 1:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, thread_name_prefix="hornbook-bpe")
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def do(self, function: Callable[[_Item], None], item: _Item) -> None:
        """Call `function(item)`, soon; an error of it may come from a later `do`, or from `finish`."""
        if self._pool is None:
            function(item)
            return
        self._waiting.append(self._pool.submit(function, item))
        if len(self._waiting) > _CALLS_AHEAD:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Wait until everything is done."""
        while self._waiting:
            self._waiting.popleft().result()
