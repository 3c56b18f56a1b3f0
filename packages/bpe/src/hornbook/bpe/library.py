"""Finds the compiled core, a shared library beside the Python files, and says what was found.

The library has no Python in it: it is opened by ctypes, which lets go of the interpreter's lock while a
function of it runs. Where it is missing, too old or damaged the package works all the same, in pure
Python, and says so once.
"""

import ctypes
import os
import sys
import warnings
from functools import cache
from pathlib import Path

ABI_VERSION = 5
"""What `hb_abi_version()` must return: `HB_ABI_VERSION` of `csrc/bpe.h`."""

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


def core_path() -> Path:
    """Where the compiled core is expected: what HORNBOOK_BPE_CORE names, else beside this file."""
    return Path(os.environ.get("HORNBOOK_BPE_CORE") or Path(__file__).with_name(f"_core{_SUFFIX}"))


@cache
def load() -> ctypes.CDLL | None:
    """The compiled core, None where pure Python must serve.

    Warns:
        RuntimeWarning: The first time, if there is no usable core, unless HORNBOOK_BPE_PURE asked for none.
    """
    library, why_not = _find()
    if library is None and not _pure_is_asked():
        warnings.warn(
            f"hornbook.bpe runs in pure Python, many times slower: {why_not}. "
            "`uv sync --reinstall-package hornbook-bpe` builds the compiled core (with -v it shows the "
            "compiler's words); HORNBOOK_BPE_PURE=1 in the environment asks for pure Python.",
            RuntimeWarning,
            stacklevel=2,
        )
    return library


def describe() -> dict[str, str]:
    """What serves, in words to show a person.

    Example:
        >>> list(describe())
        ['engine', 'path', 'version', 'Unicode version', 'SIMD']
    """
    library, why_not = _find()
    if library is None:
        from .unicode_classes import UNICODE_VERSION  # the core has a copy: not needed where that serves

        return {
            "engine": f"pure Python ({why_not})",
            "path": str(Path(__file__).parent),
            "version": _package_version(),
            "Unicode version": UNICODE_VERSION,
            "SIMD": "none",
        }
    return {
        "engine": "compiled core",
        "path": str(core_path()),
        "version": _text(library, "hb_version"),
        "Unicode version": _text(library, "hb_unicode_version"),
        "SIMD": _text(library, "hb_simd"),
    }


def _pure_is_asked() -> bool:
    return os.environ.get("HORNBOOK_BPE_PURE", "") not in {"", "0"}


@cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    """The compiled core, or None and why."""
    if _pure_is_asked():
        return None, "HORNBOOK_BPE_PURE asks for it"
    path = core_path()
    if not path.is_file():
        return None, f"there is no compiled core at {path}"
    try:
        library = ctypes.CDLL(str(path.resolve()))  # a bare name would be looked for elsewhere
        abi_version = library.hb_abi_version()
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be used ({error})"
    if abi_version != ABI_VERSION:
        return None, f"{path} is of another version (its interface is {abi_version}, wanted is {ABI_VERSION})"
    return library, ""


def _text(library: ctypes.CDLL, name: str) -> str:
    function = library[name]  # a function object of our own: its types are nobody else's
    function.restype = ctypes.c_char_p
    text: bytes = function()
    return text.decode()


def _package_version() -> str:
    from importlib import metadata  # here, because it takes 10 ms to import

    try:
        return metadata.version("hornbook-bpe")
    except metadata.PackageNotFoundError:  # run from its source, with nothing installed
        return "unknown"
