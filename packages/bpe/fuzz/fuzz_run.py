"""Give hostile input to the compiled core and to every file format: ten minutes, or as long as asked.

    nox -s fuzz                                  all targets, ten minutes
    nox -s fuzz -- scan encode --seconds 60      two of them, one minute in all
    packages/bpe/fuzz/fuzz_run.py --input FILE TARGET   one input again

Inputs are mutations of those in `corpus/`. By themselves they are blind but the same for the same seed;
with --coverage atheris chooses those that reach new code, in Python and, if the core was compiled with
counters (as nox does), in C. The input of a failure is kept, and named.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz_input import mutated

CORPUS = Path(__file__).with_name("corpus")
NAMES = sorted(path.name for path in CORPUS.iterdir())


def fuzz_blindly(name: str, seconds: float, num_inputs: int, seed: int) -> int:
    """Run one target on its corpus and on mutations of it; returns how many inputs that were.

    The input is written down before it is tried: the target may end the process.
    """
    target = find_target(name)
    corpus = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    random = Random(f"{name} {seed}")
    kept = Path(tempfile.mkdtemp(prefix="fuzz-")) / name
    print(f"{name}: seed {seed}; what it is tried on is in {kept}", flush=True)
    stop = time.monotonic() + seconds
    tried = 0
    with kept.open("wb", buffering=0) as file:
        while tried < num_inputs and time.monotonic() < stop:
            data = corpus[tried] if tried < len(corpus) else mutated(corpus, random)
            file.seek(0)
            file.write(data)
            file.truncate()
            target(data)
            tried += 1
    kept.unlink()
    kept.parent.rmdir()
    return tried


def fuzz_by_coverage(name: str, seconds: float, seed: int) -> None:
    """Run one target under atheris; does not return."""
    # The counters of the core are found by the name of a function in atheris: it must be visible to all.
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    import atheris  # type: ignore[import-untyped]

    # Of Python only what reads files: the pure twin of the core would run ten times slower.
    with atheris.instrument_imports(include=["hornbook.bpe.formats", "hornbook.bpe.counts"]):
        target = find_target(name)
    found = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    arguments = [
        *(sys.argv[0], str(found), str(CORPUS / name), f"-artifact_prefix={found}/", f"-seed={seed}"),
        *(f"-max_total_time={round(seconds)}", "-max_len=8192", "-timeout=30", "-print_final_stats=1"),
    ]
    atheris.Setup(arguments, target)
    atheris.Fuzz()


def find_target(name: str) -> Callable[[bytes], None]:
    """The function of that name."""
    import fuzz_core  # late, so that atheris can watch what they import
    import fuzz_formats

    return (fuzz_core.TARGETS | fuzz_formats.TARGETS)[name]


def main() -> None:
    """Run the targets one after another."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; by default all")
    parser.add_argument("--seconds", type=float, default=600, help="for all together (600)")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="at most, for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--coverage", action="store_true", help="by atheris; 1 process a target")
    parser.add_argument("--input", type=Path, help="try this file alone")
    options = parser.parse_args()
    if Path("/dev/shm").is_dir():
        tempfile.tempdir = "/dev/shm"  # targets write files: in memory that is ten times faster
    names = options.targets or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    each = options.seconds / len(names)
    if options.input:
        for name in names:
            find_target(name)(options.input.read_bytes())
    elif not options.coverage:
        for name in names:
            print(f"{name}: {fuzz_blindly(name, each, options.inputs, options.seed):,} inputs", flush=True)
    elif len(names) == 1:
        fuzz_by_coverage(names[0], each, options.seed)
    else:
        for name in names:
            command = [
                sys.executable,
                __file__,
                name,
                "--coverage",
                f"--seconds={each}",
                f"--seed={options.seed}",
            ]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
