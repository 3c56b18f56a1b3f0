"""Loading the compiled core: used where it is, missed loudly where it is not, left alone where unwanted."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hornbook.bpe import library
from hornbook.bpe.unicode_classes import UNICODE_VERSION

PURE = os.environ.get("HORNBOOK_BPE_PURE", "") not in {"", "0"}
LOAD_TWICE = """
from hornbook.bpe import library

print(library.load() is not None, library.load() is not None, library.describe()["engine"])
"""


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, with these variables and none of ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HORNBOOK_BPE_")}
    # A sanitizer that this process runs under has no business in that one.
    inherited.pop("LD_PRELOAD", None)
    # "always": or Python itself would keep a second warning of the same line back.
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env=inherited | variables,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.skipif(PURE, reason="pure Python was asked for")
def test_the_compiled_core_is_in_use() -> None:
    # If this fails the core was not built: `uv sync --reinstall-package hornbook-bpe -v` shows why.
    core = library.load()
    assert core is not None
    assert core.hb_abi_version() == library.ABI_VERSION
    assert library.load() is core
    description = library.describe()
    assert description["engine"] == "compiled core"
    assert description["path"] == str(library.core_path())
    assert description["Unicode version"] == UNICODE_VERSION
    assert description["SIMD"] in {"avx512", "avx2", "sse2", "neon", "plain"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", description["version"])


def test_the_version_of_the_interface_is_the_one_in_the_header() -> None:
    header = Path(library.__file__).with_name("csrc") / "bpe.h"
    assert f"#define HB_ABI_VERSION {library.ABI_VERSION}\n" in header.read_text(encoding="utf-8")


def test_a_missing_core_is_told_once_with_the_mend(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.so"
    result = run(LOAD_TWICE, HORNBOOK_BPE_CORE=str(missing))
    assert result.stdout == f"False False pure Python (there is no compiled core at {missing})\n"
    assert result.stderr.count("RuntimeWarning") == 1
    assert f"there is no compiled core at {missing}" in result.stderr
    assert "`uv sync --reinstall-package hornbook-bpe`" in result.stderr
    assert "HORNBOOK_BPE_PURE=1" in result.stderr


def test_pure_python_can_be_asked_for_and_is_no_reason_to_warn() -> None:
    result = run(LOAD_TWICE, HORNBOOK_BPE_PURE="1")
    assert result.stdout == "False False pure Python (HORNBOOK_BPE_PURE asks for it)\n"
    assert result.stderr == ""


@pytest.mark.skipif(PURE, reason="pure Python was asked for")
def test_zero_does_not_ask_for_pure_python() -> None:
    assert run(LOAD_TWICE, HORNBOOK_BPE_PURE="0").stdout == "True True compiled core\n"


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "core.so"
    damaged.write_bytes(b"not a library")
    result = run(LOAD_TWICE, HORNBOOK_BPE_CORE=str(damaged))
    assert f"False False pure Python ({damaged} cannot be used" in result.stdout
    assert result.stderr.count("RuntimeWarning") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="names a library of Linux")
def test_another_library_is_refused() -> None:
    (libc,) = {
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so" in line
    }
    result = run(LOAD_TWICE, HORNBOOK_BPE_CORE=libc)
    assert f"False False pure Python ({libc} cannot be used" in result.stdout
    assert "hb_abi_version" in result.stderr


@pytest.mark.skipif(PURE, reason="pure Python was asked for")
def test_a_core_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "ABI_VERSION", library.ABI_VERSION + 1)
    found, why_not = library._find.__wrapped__()
    assert found is None
    current = library.ABI_VERSION
    assert why_not.endswith(f"is of another version (its interface is {current - 1}, wanted is {current})")
