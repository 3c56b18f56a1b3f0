"""The most memory that training took, as a process of its own measures it: here it has room from before."""

import subprocess
import sys
from pathlib import Path

import pytest

from recipes.peak import read_peak

APPS = Path(__file__).parents[1]
MEASURED = """
import sys
from pathlib import Path
import torch
from recipes.peak import recorded_peak, watch_memory

earlier = bytearray(b"1") * 400_000_000
del earlier
most_bytes = watch_memory(torch.device("cpu"))
with recorded_peak(most_bytes, Path(sys.argv[1])):
    taken = bytearray(b"1") * 200_000_000
    del taken
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="here the system doesn't say")
def test_the_peak_is_what_was_taken_since_and_the_most_of_all_calls(tmp_path: Path) -> None:
    for earlier, expected in ((None, 200_000_000), (300_000_000, 300_000_000)):
        if earlier is not None:
            (tmp_path / "memory.json").write_text(f'{{"peak_bytes": {earlier}}}')
        subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], cwd=APPS, check=True)
        assert read_peak(tmp_path) == pytest.approx(expected, rel=0.05)
