import threading

import pytest
import torch

from hornbook.trainer import Batch, prefetch


def batch_of(step: int) -> Batch:
    return torch.tensor([step]), torch.tensor([-step])


def test_the_next_batch_is_made_while_this_one_is_used() -> None:
    made: dict[int, threading.Event] = {step: threading.Event() for step in range(1, 6)}

    def batches(step: int) -> Batch:
        made[step].set()
        return batch_of(step)

    with prefetch(batches) as ahead:
        for step in range(1, 5):
            assert ahead(step)[0].item() == step
            assert made[step + 1].wait(timeout=10)  # nobody has asked for it


def test_any_order_of_steps_gives_their_batches() -> None:
    with prefetch(batch_of) as ahead:
        assert [ahead(step)[1].item() for step in (3, 4, 4, 9, 1, 2)] == [-3, -4, -4, -9, -1, -2]


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_wanted() -> None:
    def batches(step: int) -> Batch:
        if step == 2:
            msg = "page 2 is torn"
            raise OSError(msg)
        return batch_of(step)

    with prefetch(batches) as ahead:
        ahead(1)
        with pytest.raises(OSError, match="page 2 is torn"):
            ahead(2)


@pytest.mark.parametrize("fail", [True, False])
def test_no_thread_is_left_over(fail: bool) -> None:
    before = set(threading.enumerate())
    try:
        with prefetch(batch_of) as ahead:
            ahead(1)
            assert set(threading.enumerate()) != before
            if fail:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert set(threading.enumerate()) == before
