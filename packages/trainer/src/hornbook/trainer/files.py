"""Files that are whole or absent: written aside, synced, renamed."""

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ASIDE = ".part"


@contextmanager
def atomic_file(path: Path, *, needed_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when the block ends well.

    The bytes go to a hidden file beside it, are synced to the disk and then renamed, so a reader sees the
    old content or the new one, never a part; an error or a kill leaves the old one.

    Args:
        path: Final name. Its directory must exist.
        needed_bytes: Size of the whole file if known, for the message on a full disk.

    Raises:
        OSError: If the disk is full or can't be written; the message names the file and the bytes needed.
        ValueError: If the name is that of a device, a pipe or a socket, whose place the file would take.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "greeting.txt"
        >>> with atomic_file(path) as file:
        ...     _ = file.write(b"hello")
        ...     path.exists()
        False
        >>> path.read_bytes()
        b'hello'
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        msg = f"{path} is a device, a pipe or a socket, not a file: give another path"
        raise ValueError(msg)
    aside = _aside(path)
    try:
        with named_when_full(path, needed_bytes, aside):
            with aside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to be told
            aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def atomic_directory(path: Path, *, needed_bytes: int | None = None, replace: bool = False) -> Iterator[Path]:
    """Fill a directory that appears under its name only when the block ends well.

    Args:
        path: Final name. Missing parents are made.
        needed_bytes: Size of the whole content if known, for the message on a full disk.
        replace: Whether what is there already gives way; it is moved aside just before the rename.

    Yields:
        The hidden directory to fill. Every file in it is synced before the rename.

    Raises:
        FileExistsError: If `path` is there already, unless it may be replaced.
        OSError: As for `atomic_file`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pair"
        >>> with atomic_directory(path) as aside:
        ...     _ = (aside / "one").write_text("1")
        ...     _ = (aside / "two").write_text("2")
        >>> sorted(file.name for file in path.iterdir())
        ['one', 'two']
    """
    if not replace and path.exists():
        msg = f"{path} is there already"
        raise FileExistsError(msg)
    aside = _aside(path)
    with made_directory(path.parent):
        try:
            with named_when_full(path, needed_bytes, aside):
                aside.mkdir()
                yield aside
                for file in sorted(aside.rglob("*")):
                    if file.is_file():
                        with file.open("rb") as handle:
                            os.fsync(handle.fileno())
                    else:
                        sync_directory(file)
                sync_directory(aside)
                before = _move_aside(path) if replace else None
                aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_directory(path.parent)
        if before is not None:
            delete(before)


def remove_directory(path: Path) -> None:
    """Delete a directory; a kill leaves all of it, or nothing under its name."""
    before = _move_aside(path)
    if before is not None:
        delete(before)


def delete(path: Path) -> None:
    """Delete a directory with all in it, a file, or a link, but not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _move_aside(path: Path) -> Path | None:
    aside = _aside(path.with_name(f"{path.name}.old"))
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


@contextmanager
def made_directory(directory: Path) -> Iterator[None]:
    """Make a directory and its parents for the block; those made and still empty after it go again."""
    made = [path for path in (directory, *directory.parents) if not path.exists()]  # innermost first
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in made:
            if any(path.iterdir()):
                break
            path.rmdir()


def remove_leftovers(directory: Path, *, only_of_dead: bool = False) -> None:
    """Delete what killed processes left half written in `directory`.

    Args:
        directory: Its own writer calls this; where there are several, with `only_of_dead`.
        only_of_dead: Whether to leave what a process that still runs may be writing.
    """
    for path in filter(is_leftover, directory.iterdir()):
        if only_of_dead and _is_running(int(path.name.split(".")[-2])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)  # another process may be at it too
        else:
            path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Tell whether this name is one under which files are written aside."""
    return re.fullmatch(rf"\..+\.\d+{re.escape(_ASIDE)}", path.name) is not None


def _is_running(process_id: int) -> bool:
    if os.name == "nt":  # there, asking a process with a signal would end it
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and is another user's
        return True
    return True


def sync_directory(directory: Path) -> None:
    """Make renames and deletions in `directory` survive a power cut, where the system can."""
    if os.name == "nt":  # Windows can't open a directory, and needs no sync of one
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> FileIO:
    """Open a file to read, without a buffer, if it is one: no link to elsewhere, no pipe that never ends.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is something else; the message goes on where its name ends.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO}:
            raise
        msg = "is not a plain file"
        raise ValueError(msg) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        msg = "is not a plain file"
        raise ValueError(msg)
    return FileIO(descriptor, "rb")


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _aside(path: Path) -> Path:
    # The process id keeps two writers of one name apart; the last rename wins with a whole file.
    return path.with_name(f".{path.name}.{os.getpid()}{_ASIDE}")


@contextmanager
def named_when_full(path: Path, needed_bytes: int | None, written: Path | None = None) -> Iterator[None]:
    """Say which file found no room and how much it wanted; safetensors wraps the system's error.

    An error that says it already, of a file in a directory, is told as it is, but for the directory's name.

    Args:
        path: What is written.
        needed_bytes: Of all of it, if known.
        written: Where it is written meanwhile, for an answer where it is not known.

    Raises:
        OSError: In place of that of the full disk.
    """
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        if number not in _NO_ROOM and not any(f"os error {code}" in str(error) for code in _NO_ROOM):
            raise
        if needed_bytes is None and "bytes needed" in str(error) and isinstance(error, OSError):
            msg = str(error.strerror).replace(str(written), str(path))
        else:
            if needed_bytes is not None:
                needed = f" ({needed_bytes:,} bytes needed)"
            elif written is not None and written.exists():
                free = shutil.disk_usage(written).free if number == errno.ENOSPC and written.is_dir() else 0
                needed = f" (more than {_num_bytes(written) + free:,} bytes needed)"
            else:
                needed = ""
            msg = f"no room to write {path}{needed}: free some space there, or choose another directory"
        raise OSError(number or errno.ENOSPC, msg) from error


def _num_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
