"""Do work on several threads and take the results in order."""

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from threading import Thread

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# So many for each thread are under way: a thread that is free finds something to do, and what they hold stays
# small.
_ITEMS_AHEAD = 4


def ordered_map(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    num_threads: int,
    *,
    before: Callable[[_Item], object] | None = None,
    after: Callable[[_Result], object] | None = None,
    results_ahead: int = 0,
) -> Generator[_Result, None, None]:
    """Yield `function(item)` for each item, in order, worked out on `num_threads` threads.

    The caller's thread is one of them, and the only one that takes items from `items`, a few ahead of the
    results. The first error, of a function or of `items`, is raised in place of its result. However the work
    ends (by an error, by Ctrl-C, because the generator is closed), no thread is left running then.

    Args:
        function: The work; called for several items at a time.
        items: What to work on.
        num_threads: Threads in all; no more are started than there are items.
        before: Called with each item before `function` is, in order and for one at a time, on any thread.
        after: The same with each result.
        results_ahead: Results for each thread that may wait for an earlier one besides; 0 where they are big.

    Example:
        >>> list(ordered_map(len, ["a", "bc", ""], num_threads=2))
        [1, 2, 0]
    """
    steps = [_Step(function, in_order=False)]
    if before is not None:
        steps.insert(0, _Step(_passing_on(before), in_order=True))
    if after is not None:
        steps.append(_Step(_passing_on(after), in_order=True))
    if num_threads == 1:
        for item in items:
            passed: Any = item
            for step in steps:
                passed = step.function(passed)
            yield passed
    else:
        yield from _on_threads(items, _Line(steps), num_threads, results_ahead)


def _passing_on(function: Callable[[Any], object]) -> Callable[[Any], Any]:
    def call(item: Any) -> Any:
        function(item)
        return item

    return call


def _on_threads(
    items: Iterable[Any], line: "_Line", num_threads: int, results_ahead: int
) -> Generator[Any, None, None]:
    iterator = iter(items)
    most_under_way = _ITEMS_AHEAD * num_threads
    most_results = results_ahead * num_threads
    num_drawn = num_yielded = 0
    is_drawn_out = False
    try:
        while not (is_drawn_out and num_yielded == num_drawn):
            num_waiting = min(line.num_results(), most_results)
            may_draw = not is_drawn_out and num_drawn - num_yielded - num_waiting < most_under_way
            if line.has_result(num_yielded):
                yield line.result(num_yielded)
                num_yielded += 1
            elif may_draw:
                try:
                    line.put(num_drawn, next(iterator))
                except StopIteration:
                    is_drawn_out = True
                    continue
                except Exception as error:
                    line.fail(num_drawn, error)
                    is_drawn_out = True
                num_drawn += 1
                if 1 < num_drawn <= num_threads:  # the first item is the caller's
                    line.start_thread()
            else:
                line.work_until(num_yielded)
    finally:
        line.close()


class _Step:
    """What is done with each item, and the items that wait for it, by their numbers."""

    def __init__(self, function: Callable[[Any], Any], *, in_order: bool) -> None:
        self.function = function
        self.in_order = in_order
        self.waiting: dict[int, Any] = {}
        self.turn = 0  # in order: the number of the next item
        self.is_busy = False


class _Task(NamedTuple):
    position: int  # of the step
    number: int  # of the item
    item: Any


class _Line:
    """Steps one after another, and threads that do whatever can be done, the last step first.

    Args:
        steps: The first to the last.
    """

    def __init__(self, steps: list[_Step]) -> None:
        from threading import Condition  # here, because not every program starts threads

        self._steps = steps
        self._changed = Condition()
        self._results: dict[int, Any] = {}
        self._errors: dict[int, BaseException] = {}
        self._is_closed = False
        self._threads: list[Thread] = []

    def start_thread(self) -> None:
        """Start one more thread; `close` ends it.

        Raises:
            RuntimeError: If the system allows no more.
        """
        from threading import Thread

        # A daemon, so that a generator that nobody closes keeps no program from ending.
        thread = Thread(target=self._work, name="hornbook-bpe", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            number = len(self._threads)
            msg = f"the system starts no more than {number} threads here: give a smaller num_threads"
            raise RuntimeError(msg) from error
        self._threads.append(thread)

    def close(self) -> None:
        """What has begun is finished, what has not is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def put(self, number: int, item: Any) -> None:
        """Add the next item."""
        with self._changed:
            self._steps[0].waiting[number] = item
            self._changed.notify()

    def fail(self, number: int, error: BaseException) -> None:
        """An item has no result but an error."""
        with self._changed:
            self._errors[number] = error
            self._changed.notify_all()

    def has_result(self, number: int) -> bool:
        """Whether `result` would not have to wait."""
        return number in self._results or number in self._errors

    def num_results(self) -> int:
        """How many items have a result that was not taken."""
        return len(self._results)

    def result(self, number: int) -> Any:
        """The result of an item that has one; raises its error."""
        if number in self._errors:
            raise self._errors[number]
        return self._results.pop(number)

    def work_until(self, number: int) -> None:
        """Do something useful, or wait until an item has its result."""
        with self._changed:
            task = self._take()
            if task is None:
                if not self.has_result(number):
                    self._changed.wait()
                return
        self._do(task)

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                task = self._take()
                if task is None:
                    self._changed.wait()
                    continue
            with suppress(BaseException):  # the caller's thread raises it
                self._do(task)

    def _take(self) -> _Task | None:
        for position in reversed(range(len(self._steps))):
            step = self._steps[position]
            if not step.waiting or step.is_busy:
                continue
            number = step.turn if step.in_order else min(step.waiting)
            if number in step.waiting:
                step.is_busy = step.in_order
                return _Task(position, number, step.waiting.pop(number))
        return None

    def _do(self, task: _Task) -> None:
        step = self._steps[task.position]
        try:
            result = step.function(task.item)
        except BaseException as error:
            self.fail(task.number, error)  # if it was its turn, nothing later comes
            if isinstance(error, Exception):
                return
            raise  # Ctrl-C waits for no turn
        is_last = task.position + 1 == len(self._steps)
        with self._changed:
            if step.in_order:
                step.is_busy = False
                step.turn += 1
            (self._results if is_last else self._steps[task.position + 1].waiting)[task.number] = result
            self._changed.notify_all()
