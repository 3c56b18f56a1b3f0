"""The next step's batch, made while this one computes."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from .batches import Batch, Batches


@contextmanager
def prefetch(batches: Batches) -> Iterator[Batches]:
    """Ask for the batch after the one that is wanted, in a thread, for as long as the block runs.

    A batch is a function of the step, so nothing changes but when it is made. What goes wrong in the thread
    is raised where the batch is wanted. The thread has ended when the block has.

    Example:
        >>> with prefetch(lambda step: (step, step + 1)) as batches:
        ...     batches(1), batches(2), batches(7)
        ((1, 2), (2, 3), (7, 8))
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as executor:
        ahead: tuple[int, Future[Batch]] | None = None

        def batch_of(step: int) -> Batch:
            nonlocal ahead
            batch = ahead[1].result() if ahead and ahead[0] == step else batches(step)
            ahead = step + 1, executor.submit(batches, step + 1)
            return batch

        yield batch_of
