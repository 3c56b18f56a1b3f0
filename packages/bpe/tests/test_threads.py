"""Work on threads: results in order, errors too, and nothing left running."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from hornbook.bpe.threads import ordered_map


@pytest.fixture(autouse=True)
def _no_thread_is_left_running() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def is_caller() -> bool:
    return threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(num_threads: int) -> None:
    earlier_may_go = threading.Event()

    def slow_at_first(item: int) -> int:
        if num_threads > 1:  # the first is done last
            earlier_may_go.wait() if item == 0 else earlier_may_go.set()
        return item * item

    assert list(ordered_map(slow_at_first, range(100), num_threads)) == [n * n for n in range(100)]
    assert list(ordered_map(slow_at_first, [], num_threads)) == []


def test_several_threads_do_the_work_and_one_is_the_callers() -> None:
    all_work = threading.Barrier(3)

    def work(item: int) -> int:
        if item < 3:
            all_work.wait(timeout=60)
        return threading.get_ident()

    threads = set(ordered_map(work, range(50), 3))
    assert len(threads) == 3
    assert threading.get_ident() in threads
    assert set(ordered_map(lambda _: threading.get_ident(), range(10), 1)) == {threading.get_ident()}


def test_no_more_threads_start_than_there_are_items() -> None:
    before = threading.active_count()
    seen: list[int] = []

    def work(item: int) -> int:
        seen.append(threading.active_count() - before)
        return item

    assert list(ordered_map(work, range(3), 1_000_000)) == [0, 1, 2]
    assert max(seen) <= 2
    seen.clear()
    assert list(ordered_map(work, [7], 1_000_000)) == [7]
    assert seen == [0]


def test_a_thread_that_the_system_does_not_start_is_an_error_that_leaves_none_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def start_two(thread: threading.Thread) -> None:
        if threading.active_count() > before + 1:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match="starts no more than 2 threads here: give a smaller num_threads"):
        list(ordered_map(lambda item: item, range(100), 5))


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_items_are_drawn_only_a_little_ahead_and_by_the_caller(num_threads: int) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1_000):
            assert threading.current_thread() is threading.main_thread()
            drawn.append(item)
            yield item

    for result in ordered_map(lambda item: item, items(), num_threads):
        assert len(drawn) <= result + 1 + 4 * num_threads


def test_small_results_may_wait_for_a_slow_item_so_that_nobody_else_does() -> None:
    most_done = threading.Event()
    num_done = 0

    def work(item: int) -> int:
        nonlocal num_done
        if item == 0:
            if is_caller():  # who draws the items is not the one to wait
                return item
            most_done.wait(timeout=60)
        num_done += 1
        if num_done == 50:
            most_done.set()
        return item

    for _ in range(20):
        num_done = 0
        most_done.clear()
        assert list(ordered_map(work, range(60), 2, results_ahead=30)) == list(range(60))


@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_first_error_is_raised_in_its_place_whoever_was_faster(num_threads: int) -> None:
    later_failed = threading.Event()

    def work(item: int) -> int:
        if item == 5:
            if not is_caller():
                later_failed.wait(timeout=60)
            msg = "the fifth"
            raise ValueError(msg)
        if item == 6:
            later_failed.set()
            msg = "the sixth"
            raise KeyError(msg)
        return item

    results: list[int] = []
    with pytest.raises(ValueError, match="the fifth"):
        results.extend(ordered_map(work, range(10), num_threads))
    assert results == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_error_of_the_items_comes_after_the_results_before_it(num_threads: int) -> None:
    def items() -> Iterator[int]:
        yield from range(4)
        msg = "no more"
        raise OSError(msg)

    results: list[int] = []
    with pytest.raises(OSError, match="no more"):
        results.extend(ordered_map(lambda item: item, items(), num_threads))
    assert results == [0, 1, 2, 3]


def test_closing_drops_what_has_not_begun() -> None:
    begun: list[int] = []
    caller_is_back = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item > 0 and not is_caller():
            caller_is_back.wait(timeout=60)
        return item

    results = ordered_map(work, range(1_000), 3)
    assert next(results) == 0
    caller_is_back.set()
    results.close()
    assert len(begun) <= 12


def test_an_interrupt_stops_the_work() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        list(ordered_map(work, range(1_000), 2))


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_before_and_after_are_called_in_order_for_one_item_at_a_time(num_threads: int) -> None:
    calls: dict[str, list[int]] = {"before": [], "after": []}
    in_use = {name: threading.Lock() for name in calls}

    def called(name: str, item: int) -> None:
        assert in_use[name].acquire(blocking=False)
        time.sleep(0)  # another thread may have its turn, which here it must not
        calls[name].append(item)
        in_use[name].release()

    def work(item: int) -> int:
        assert item in calls["before"]
        time.sleep(item % 3 / 10_000)
        return item

    results = ordered_map(
        work, range(300), num_threads, before=partial(called, "before"), after=partial(called, "after")
    )
    for result in results:
        assert result in calls["after"]
    assert calls == {"before": list(range(300)), "after": list(range(300))}


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("failing", ["before", "after"])
def test_after_an_error_before_or_after_nothing_takes_its_turn(num_threads: int, failing: str) -> None:
    calls: list[int] = []

    def fail(item: int) -> None:
        calls.append(item)
        if item == 3:
            msg = "the third"
            raise OSError(msg)

    def nothing(_: int) -> None:
        pass

    steps: Any = {"before": nothing, "after": nothing, failing: fail}
    results: list[int] = []
    with pytest.raises(OSError, match="the third"):
        results.extend(ordered_map(lambda item: item, range(100), num_threads, **steps))
    assert results == [0, 1, 2]
    assert calls == [0, 1, 2, 3]
