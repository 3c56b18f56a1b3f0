import time

import pytest

from hornbook.trainer import World, joined_world
from hornbook.trainer.distributed import asked_for_processes
from many_processes import in_processes, new_store


def test_a_batch_that_cannot_be_shared_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be a multiple .* got 6 and 4: take 4 or 8, or"):
        World(size=4).share_of(6)
    with pytest.raises(ValueError, match="got 3 and 4: take 4, or"):
        World(size=4).share_of(3)


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0"},
        {"RANK": "4", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
        {"RANK": "x", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
    ],
)
def test_a_place_that_is_none_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"the environment names no place .*RANK=.*start them with torchrun"):
        asked_for_processes(environment)


@pytest.mark.parametrize(("device", "chosen"), [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", [])])
def test_one_process_makes_the_gpu_that_was_named_the_current_one(
    monkeypatch: pytest.MonkeyPatch, device: str, chosen: list[str]
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("torch.cuda.set_device", lambda device: seen.append(str(device)))
    with joined_world(device) as world:
        assert (world.size, str(world.device)) == (1, device)
    assert seen == chosen


@pytest.mark.parametrize(
    ("device", "reason"), [("mps", "need the device cpu or cuda"), ("cuda:1", "takes the GPU")]
)
def test_a_device_that_cannot_be_shared_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, reason: str
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason), joined_world(device):
        pass


def heard_from_rank_0(start: str) -> str:
    """What each process hears, where rank 0 thinks about it for a while."""

    def think() -> str:
        time.sleep(0.3)
        return start

    with joined_world("cpu") as world:
        return world.on_main(think)


def test_processes_that_are_started_anew_hear_nothing_of_the_start_before() -> None:
    store = new_store()  # torchrun's, which outlives the processes
    for start in ("first", "second"):
        assert in_processes(2, heard_from_rank_0, start, store=store) == [start, start]
