"""How long `import hornbook.accounting` takes, over a Python that imports nothing. The aim: under 30 ms.

uv run benchmarks/bench_accounting_import.py [--repetitions 25]

Processes alternate. They read bytecode, as after the first import of an installed package; where
PYTHONDONTWRITEBYTECODE is set they would compile every time, so the cache is in a directory of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial

from common import alternate, print_machine

IMPORTS = {
    "nothing": "pass",
    "dataclasses and typing": "import dataclasses, typing",
    "hornbook.accounting": "import hornbook.accounting",
}


def main() -> None:
    """Print milliseconds of each import over none, medians and ranges."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=25, metavar="N")
    repetitions = parser.parse_args().repetitions
    print_machine()
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(code: str) -> None:
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)

        timings = alternate({name: partial(run, code) for name, code in IMPORTS.items()}, repetitions)
    bare = timings.pop("nothing").wall
    print(f"\nPython from start to end: {1e3 * statistics.median(bare):.1f} ms; imports over that, ms:")
    for name, timing in timings.items():
        over = [1e3 * (one - other) for one, other in zip(timing.wall, bare, strict=True)]
        print(f"  {name:<24} {statistics.median(over):5.1f} ({min(over):.1f} to {max(over):.1f})")


if __name__ == "__main__":
    main()
