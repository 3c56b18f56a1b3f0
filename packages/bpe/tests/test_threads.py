"""Work on threads: results in order, errors too, and nothing left running."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from hornbook.bpe.threads import Sideline, ordered_map


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
    caller_works = threading.Event()

    def work(_: int) -> int:
        if is_caller():
            caller_works.set()
        else:
            caller_works.wait(timeout=60)
        return threading.get_ident()

    threads = set(ordered_map(work, range(50), 3))
    assert len(threads) == 3
    assert threading.get_ident() in threads
    assert set(ordered_map(lambda _: threading.get_ident(), range(10), 1)) == {threading.get_ident()}


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_items_are_drawn_only_a_little_ahead_and_by_the_caller(num_threads: int) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1_000):
            assert threading.current_thread() is threading.main_thread()
            drawn.append(item)
            yield item

    for result in ordered_map(lambda item: item, items(), num_threads):
        assert len(drawn) <= result + 1 + 2 * num_threads


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


def test_closing_drops_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = threading.Event()
    cancel = Future.cancel

    def cancel_and_tell(future: "Future[int]") -> bool:
        if is_dropped := cancel(future):
            dropped.set()
        return is_dropped

    monkeypatch.setattr(Future, "cancel", cancel_and_tell)
    begun: list[int] = []
    both_are_busy = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if is_caller():  # because the others have enough: 0 and 1 begun, 2 and 3 waiting
            both_are_busy.set()
        else:
            (both_are_busy if item == 0 else dropped).wait(timeout=30)
        return item

    results = ordered_map(work, range(1_000), 3)
    assert next(results) == 0
    results.close()
    assert dropped.is_set()
    assert 3 not in begun


def test_an_interrupt_stops_the_work() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        list(ordered_map(work, range(1_000), 2))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_calls_on_the_sideline_keep_their_order_and_only_a_few_wait(num_threads: int) -> None:
    done: list[int] = []
    with Sideline(num_threads) as sideline:
        for item in range(100):
            sideline.do(done.append, item)
            assert item - len(done) < 10
        sideline.finish()
        assert done == list(range(100))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_on_the_sideline_reaches_the_caller(num_threads: int) -> None:
    def fail(item: int) -> None:
        msg = f"{item} failed"
        raise ValueError(msg)

    def work() -> None:
        with Sideline(num_threads) as sideline:
            sideline.do(fail, 7)
            sideline.finish()

    with pytest.raises(ValueError, match=r"^7 failed$"):
        work()
