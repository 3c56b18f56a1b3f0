"""Compiles the core when the package is built: one shared library, the same for every Python.

With the system's compiler (CC, cc, gcc or clang), else with the one in the package `ziglang`, which is
asked for only then. Where compiling fails the package is built without: it works in pure Python, and says
so when it is imported.

`python hatch_build.py [LIBRARY [FLAG ...]]` compiles the core alone, with further flags for the compiler.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
PACKAGE = ROOT / "src" / "hornbook" / "bpe"
SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
CORE = PACKAGE / f"_core{SUFFIX}"  # where library.py looks for it
# No -march: the C asks the running machine what it has. No -g and sources named without their folder: the
# same sources give the same bytes, wherever they are.
FLAGS = ["-std=c11", "-O3", "-g0", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-shared"]
ZIG = [sys.executable, "-m", "ziglang", "cc"]


class CompiledCore(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's own hooks leave it open too
    """Puts the compiled core into the wheel, or beside the sources where those are what is imported."""

    def dependencies(self) -> list[str]:
        """What building needs besides hatchling."""
        return [] if self.target_name != "wheel" or system_compiler() else ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; `version` is "editable" or "standard"."""
        if self.target_name != "wheel":
            return
        editable = version == "editable"
        self._directory = tempfile.mkdtemp()
        library = CORE if editable else Path(self._directory, CORE.name)
        try:
            compile_core(library)
        except (OSError, subprocess.CalledProcessError) as error:
            library.unlink(missing_ok=True)  # an old one would pass for the core of these sources
            self.app.display_error(
                f"hornbook-bpe is built without its compiled core, many times slower: {error}"
            )
            return
        if not editable:
            build_data["force_include"][str(library)] = f"hornbook/bpe/{CORE.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was only needed to build."""
        if self.target_name == "wheel":
            shutil.rmtree(self._directory)


def compile_core(library: Path, extra_flags: list[str] | None = None) -> None:
    """Compile every .c file into one shared library.

    Raises:
        subprocess.CalledProcessError: If the compiler fails; it has said why on stderr.
    """
    compiler = system_compiler()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    flags = [*FLAGS, f'-DHB_VERSION="{project["version"]}"', *target_flags(zig=compiler is None)]
    if compiler is None:
        # zig compiles for the very machine it runs on, checks for undefined behaviour and keeps all names,
        # unless told otherwise.
        compiler = ZIG
        flags += ["-mcpu=baseline", "-fno-sanitize=undefined", "-s"]
    sources = sorted(path.name for path in (PACKAGE / "csrc").glob("*.c"))
    # Running programs may have the old library open: the new one is made beside it and takes its name.
    with tempfile.TemporaryDirectory(prefix=".core-", dir=library.absolute().parent) as directory:
        made = Path(directory, library.name)
        command = [*compiler, *flags, *(extra_flags or []), *sources, "-o", str(made)]
        subprocess.run(command, cwd=PACKAGE / "csrc", check=True)
        made.replace(library)


def system_compiler() -> list[str] | None:
    """The command of a C compiler that works, None if there is none."""
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)  # may carry flags; if it does not work, that is for its owner to hear
    if sys.platform == "win32":
        return None  # cl takes other flags, and what MinGW makes may need libraries that others lack
    for name in ("cc", "gcc", "clang"):
        if (path := shutil.which(name)) and works(path):
            return [path]
    return None


def works(compiler: str) -> bool:
    """Whether it compiles: some have no headers, and a Mac's cc may only offer to install the real one."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "try.c"
        source.write_text("#include <stdlib.h>\n", encoding="utf-8")
        command = [compiler, "-shared", "-fPIC", str(source), "-o", str(source.with_suffix(SUFFIX))]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:  # a file of that name, but no program
            return False


def macos_target() -> tuple[list[str], str]:
    """For which Macs to compile: architectures and the oldest version of macOS."""
    words = shlex.split(os.environ.get("ARCHFLAGS", ""))
    architectures = [word for before, word in pairwise(words) if before == "-arch"] or [platform.machine()]
    # 11.0 is the first on Apple's own processors.
    return architectures, os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0")


def target_flags(*, zig: bool) -> list[str]:
    """For which machines to compile, where the compiler must be told: on a Mac."""
    if sys.platform != "darwin":
        return []
    architectures, version = macos_target()
    if zig:
        cpu = {"arm64": "aarch64"}.get(architectures[0], architectures[0])
        return ["-target", f"{cpu}-macos.{version}"]
    return [*(part for name in architectures for part in ("-arch", name)), f"-mmacosx-version-min={version}"]


def platform_tag() -> str:
    """The machines that the library runs on, in the words of wheels.

    On Linux plain `linux_x86_64`: what was compiled here may need this machine's libc or a newer one.
    """
    if sys.platform != "darwin":
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
    architectures, version = macos_target()
    name = "universal2" if set(architectures) == {"arm64", "x86_64"} else architectures[0]
    major, minor = (*version.split("."), "0")[:2]
    return f"macosx_{major}_{minor}_{name}"


if __name__ == "__main__":
    compile_core(Path(sys.argv[1]) if sys.argv[1:] else CORE, sys.argv[2:])
