"""The most memory that training took, as a process of its own measures it: here it has room from before."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recipes import peak
from recipes.peak import read_peak, recorded_peak, watch_memory

APPS = Path(__file__).parents[1]
MEASURED = """
import sys
from pathlib import Path
import torch
from recipes.peak import recorded_peak, watch_memory

earlier = [bytearray(b"1") * 100_000 for _ in range(4_000)]  # too small to be given back by itself
del earlier[:-1]
most_bytes = watch_memory(torch.device("cpu"))
with recorded_peak(most_bytes, Path(sys.argv[1])):
    taken = [bytearray(b"1") * 100_000 for _ in range(2_000)]
    del taken
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="here the system doesn't say")
def test_the_peak_is_what_was_taken_since_and_the_most_of_all_calls(tmp_path: Path) -> None:
    for earlier, expected in ((None, 200_000_000), (300_000_000, 300_000_000)):
        if earlier is not None:
            (tmp_path / "memory.json").write_text(f'{{"peak_bytes": {earlier}}}')
        subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], cwd=APPS, check=True)
        assert read_peak(tmp_path) == pytest.approx(expected, rel=0.05)


def test_what_can_not_be_measured_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = {"VmRSS": 5, "VmHWM": 5, "RssFile": 0}  # all that was taken was there from before
    monkeypatch.setattr(peak, "_status", lambda: same)
    with recorded_peak(watch_memory(torch.device("cpu")), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "memory.json").write_text('{"peak_bytes": 0}')
    assert read_peak(tmp_path) is None
    monkeypatch.setattr(peak, "_CLEAR", tmp_path / "no" / "such")
    assert watch_memory(torch.device("cpu"))() is None
