"""Several processes of one run, as torchrun would start them, but forked where torch is in memory already."""

import multiprocessing
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict_saver", "hornbook.trainer"]
)


def new_store() -> TCPStore:
    """As torchrun has it: outside of the processes, so that it outlives any."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))


def in_processes(
    size: int,
    work: Callable[..., Any],
    *arguments: Any,
    exit_codes: list[int] | None = None,
    store: TCPStore | None = None,
) -> list[Any]:
    """Call a function in as many processes, with the arguments; return what each returned, by rank."""
    store = store or new_store()
    results = [_CONTEXT.SimpleQueue() for _ in range(size)]
    processes = [
        _CONTEXT.Process(
            target=_begin, args=(rank, size, store.port, results[rank], work, arguments), daemon=True
        )
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    assert codes == (exit_codes or [0] * size)
    return [None if queue.empty() else queue.get() for queue in results]


def _begin(
    rank: int, size: int, port: int, results: Any, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    results.put(work(*arguments))
