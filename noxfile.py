#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5"]
# ///
"""What is checked, and how: `uvx nox -s tests`, `nox -s tests` or `./noxfile.py -s tests`.

uv makes every environment from uv.lock; nox only names them.
"""

import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

PACKAGES = ("accounting", "bpe", "nn", "optim", "trainer")
CHECK_BPE = """
import pathlib, sys, tempfile
from hornbook.bpe import Tokenizer, train_bpe

path = pathlib.Path(tempfile.mkdtemp()) / "text.txt"
path.write_text("low low lower<|endoftext|>")
tokenizer = Tokenizer(*train_bpe(path, 259, ["<|endoftext|>"]), ["<|endoftext|>"])
assert tokenizer.decode(tokenizer.encode("lowest")) == "lowest"
assert "torch" not in sys.modules
"""
CHECK_ACCOUNTING = """
from hornbook.accounting import GPT2_XL, num_parameters

assert num_parameters(GPT2_XL) == 2_127_057_600
"""
PYTHON_FILES = ("packages", "apps", "tests", "benchmarks", "noxfile.py")


ROOT = Path(__file__).parent


def uv_run(session: nox.Session, environment: str, *arguments: str) -> None:
    """Run a command in the environment of that name, made and kept up to date by uv from the lock file."""
    variables = {
        "UV_PROJECT_ENVIRONMENT": str(ROOT / ".nox" / environment),
        "PYTHONPATH": str(ROOT / "apps"),  # where import-linter finds the recipes
    }
    session.run("uv", "run", "--locked", *arguments, env=variables, external=True)


def uv_run_root(session: nox.Session, *arguments: str) -> None:
    """Run a command in the one environment that has everything."""
    groups = [f"--group={name}" for name in ("lint", "types", "peers")]
    uv_run(session, "root", f"--project={ROOT}", *groups, *arguments)


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
    for package in PACKAGES:
        # --exact takes away what another package brought in: an undeclared import fails here.
        member = f"--package=hornbook-{package}"
        uv_run(session, package, "--exact", member, "pytest", f"packages/{package}", *session.posargs)
    uv_run_root(session, "pytest", "apps", "tests", "-m", "not e2e", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """The main job as a user runs it: train, stop, resume, generate. Minutes."""
    uv_run_root(session, "pytest", "apps", "tests", "-m", "e2e", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed side by side with peers; rows for benchmarks/RESULTS.md."""
    for script in sorted(Path("benchmarks").glob("bench_*.py")):
        uv_run_root(session, str(script), *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build every wheel; install bpe's and accounting's alone in empty environments and use them."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for package in PACKAGES:
            session.run(
                "uv", "build", "--package", f"hornbook-{package}", "--out-dir", str(directory), external=True
            )
        check = {"bpe": CHECK_BPE, "accounting": CHECK_ACCOUNTING}
        for package, code in check.items():
            (wheel,) = directory.glob(f"hornbook_{package}-*.whl")
            session.run(
                "uv",
                "run",
                "--isolated",
                "--no-project",
                f"--with={wheel}",
                "python",
                "-c",
                code,
                external=True,
            )


if __name__ == "__main__":
    nox.main()
