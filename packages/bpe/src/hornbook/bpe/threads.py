"""Do work on several threads and take the results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# A thread that is done always finds its next item waiting, and the results stay few.
_ITEMS_AHEAD = 2


def ordered_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], num_threads: int
) -> Generator[_Result, None, None]:
    """Yield `function(item)` for each item, in order, worked out on `num_threads` threads.

    Items are taken from `items` in the caller's thread, a few ahead of the results. The first error, of
    `function` or of `items`, is raised in place of its result. However the work ends (by an error, by
    Ctrl-C, because the generator is closed), no thread is left running then. One thread means no thread: the
    caller does the work.

    Example:
        >>> list(ordered_map(len, ["a", "bc", ""], num_threads=2))
        [1, 2, 0]
    """
    if num_threads == 1:
        for item in items:
            yield function(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # here, because not every program starts threads

    with ThreadPoolExecutor(num_threads, thread_name_prefix="hornbook-bpe") as pool:
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
                waiting.append(pool.submit(function, item))
                if len(waiting) > _ITEMS_AHEAD * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if failure is not None:
                raise failure
        finally:
            # What has begun is finished by the end of `with`; what has not is dropped.
            for future in waiting:
                future.cancel()
