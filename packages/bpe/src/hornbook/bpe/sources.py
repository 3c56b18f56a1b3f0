"""Where text comes from: files, compressed or not, standard input, strings of the caller.

Text is read once, from front to back, and never mapped into memory: a file that shrinks under a mapping
kills the process, a file that shrinks while it is read is an error like any other.
"""

import glob
import importlib
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from .arguments import check_path
from .cuts import BLOCK_BYTES, SafeCuts, byte_blocks
from .stretches import FileStretches, Utf8, check_whole

_Result = TypeVar("_Result")


@runtime_checkable
class Readable(Protocol):
    """An open file of bytes or of text."""

    def read(self, size: int, /) -> bytes | str | None:
        """At most `size` bytes or characters; none of them at the end, None where it would have to wait."""


InputPath = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Readable
"""What `open_source` takes."""


class Block:
    """A stretch of one text that ends at a safe cut.

    Args:
        read: Gives the text; called when it is asked for, by whichever thread works on it.
        take_back: Takes what `read` gave, once it is no longer wanted.
        size: In bytes.
        name: Of the text it comes from.
        offset: In bytes of that text; a new text begins where it is 0.
        done: Bytes of the source before the end of this block, for progress.
    """

    def __init__(
        self,
        read: Callable[[], Utf8],
        take_back: Callable[[Utf8], object],
        size: int,
        name: str,
        offset: int,
        done: int,
    ) -> None:
        self._read = read
        self._take_back = take_back
        self._view: Utf8 | None = (
            None  # no cached_property: up to Python 3.11 only one is worked out at a time
        )
        self.size = size
        self.name = name
        self.offset = offset
        self.done = done

    @property
    def view(self) -> Utf8:
        """The text, up to the next `drop`: then its memory serves another block.

        Raises:
            ValueError: If its file was cut short meanwhile.
        """
        if self._view is None:
            self._view = self._read()
        return self._view

    def drop(self) -> None:
        """Say that the text is no longer wanted."""
        if self._view is not None:
            self._take_back(self._view)
            self._view = None

    def give(self, work: Callable[[Utf8], _Result]) -> _Result:
        """What `work` makes of the text.

        Raises:
            ValueError: If `work` finds that it is not valid UTF-8; names the byte and its offset in the text.
        """
        try:
            return work(self.view)
        except UnicodeDecodeError as error:
            place = f"byte 0x{self.view[error.start]:02x} at offset {self.offset + error.start}"
            msg = f"{self.name} is not valid UTF-8: {place}; convert it to UTF-8 first"
            raise ValueError(msg) from None


class Source:
    """One text or several, to be read once; `open_source` makes it.

    Attributes:
        name: For messages.
        total: Bytes in all as `Block.done` counts them, None if unknown.
        files: What is read, as far as it is known: paths, or the descriptor of an open file.
    """

    def __init__(
        self, name: str, total: int | None, texts: "Iterable[_Text]", files: Sequence[Path | int] = ()
    ) -> None:
        self.name = name
        self.total = total
        self.files = files
        self._texts = texts

    def blocks(self, cuts: SafeCuts, size: int = BLOCK_BYTES) -> Iterator[Block]:
        """The texts, one after another, in blocks of about `size` bytes that end at safe cuts.

        Raises:
            ValueError: If a file is cut short meanwhile or its compressed data are damaged.
            TypeError: If an iterable holds anything but strings.
        """
        done = 0
        for text in self._texts:
            offset = 0
            for num_bytes, read, take_back in text.stretches(cuts, size):
                now = done + text.position
                # A file may have grown since its size was taken.
                now = now if self.total is None else min(now, self.total)
                yield Block(read, take_back, num_bytes, text.name, offset, now)
                offset += num_bytes
            done += text.position


def open_source(input_path: InputPath) -> Source:
    """Find what `input_path` stands for.

    Args:
        input_path: The path of a file in UTF-8, gzip (.gz) or Zstandard (.zst) by its suffix; a pattern
            such as "corpus/*.txt" (`**` for folders at any depth); a list or tuple of such, each file a
            text of its own; "-", standard input; a file object, open for bytes or for text; or any other
            iterable of strings, which are pieces of one text.

    Raises:
        TypeError: If it is none of these.
        FileNotFoundError: If there is no such file; files are looked for now and read later.
        ValueError: If it names a folder, or no file at all.
    """
    if isinstance(input_path, str) and input_path == "-":
        return Source("standard input", None, [_Stream("standard input", sys.stdin.buffer)])
    if isinstance(input_path, str | os.PathLike):
        return _files_source(_find_files(input_path))
    if isinstance(input_path, list | tuple):
        return _files_source([file for path in input_path for file in _find_files(path)])
    if isinstance(input_path, Readable):
        stream = _Stream("the file object", input_path)
        return Source("the file object", None, [stream], _descriptors(input_path))
    if isinstance(input_path, Iterable) and not isinstance(input_path, bytes | bytearray | memoryview):
        return Source("the text", None, [_Strings("the text", cast(Iterable[str], input_path))])
    msg = (
        "input_path must be a path, a list of paths, '-', a file object or an iterable of strings, "
        f"got {type(input_path).__name__}"
    )
    raise TypeError(msg)


def _find_files(path: str | os.PathLike[str]) -> list[Path]:
    file = check_path(path)
    if not os.path.lexists(file):
        if isinstance(path, str) and any(mark in path for mark in "*?["):
            names = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            found = map(Path, sorted(names))
            if files := [file for file in found if file.is_file()]:
                return files
        looked = f"there is no file {path!s:.200} (looked from {Path.cwd()})"
        msg = f"{looked}; text itself is given as iter([text])"
        raise FileNotFoundError(msg)
    if file.is_dir():
        msg = f"{file} is a folder; name the files in it, for instance as {str(file / '*.txt')!r}"
        raise ValueError(msg)
    return [file]


def _files_source(files: list[Path]) -> Source:
    if not files:
        msg = "input_path is an empty list; name at least one file"
        raise ValueError(msg)
    name = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    # The size of a pipe is unknown.
    total = sum(file.stat().st_size for file in files) if all(map(Path.is_file, files)) else None
    return Source(name, total, (_File(file) for file in files), files)


def _descriptors(file: object) -> list[int]:
    try:
        return [file.fileno()]  # type: ignore[attr-defined]  # what lacks it is no file on disk
    except (AttributeError, OSError, TypeError):
        return []


class _Stretch(NamedTuple):
    """A stretch of a text: its size in bytes, what gives it, and what takes it back."""

    size: int
    read: Callable[[], Utf8]
    take_back: Callable[[Utf8], object]


class _Text:
    """One text of a source."""

    name: str
    position: int  # bytes of the source read so far

    def chunks(self) -> Iterator[bytes]:
        """The text; chunks may end anywhere."""
        raise NotImplementedError

    def stretches(self, cuts: SafeCuts, size: int) -> Iterator[_Stretch]:
        """Stretches of about `size` bytes that end at safe cuts."""
        for block in byte_blocks(self.chunks(), cuts, size):
            yield _Stretch(len(block), partial(bytes, block), _let_go)


def _let_go(text: Utf8) -> None:
    """What nobody refers to any more goes away by itself."""


class _Strings(_Text):
    """Strings of the caller, pieces of one text."""

    def __init__(self, name: str, strings: Iterable[str]) -> None:
        self.name = name
        self.position = 0
        self._strings = strings

    def chunks(self) -> Iterator[bytes]:
        num_characters = 0
        for index, string in enumerate(self._strings):
            if not isinstance(string, str):
                msg = f"an iterable must hold the strings of a text; item {index} is {type(string).__name__}"
                raise TypeError(msg)
            chunk = _encode(self.name, string, num_characters)
            num_characters += len(string)
            self.position += len(chunk)
            yield chunk


class _Stream(_Text):
    """An open file of bytes or text, of which nothing but `read` is asked."""

    def __init__(self, name: str, file: Readable) -> None:
        self.name = name
        self.position = 0
        self._file = file

    def chunks(self) -> Iterator[bytes]:
        num_characters = 0
        while chunk := self._file.read(BLOCK_BYTES):
            data = _encode(self.name, chunk, num_characters) if isinstance(chunk, str) else bytes(chunk)
            num_characters += len(chunk)
            self.position += len(data)
            yield data
        if chunk is None:
            msg = f"{self.name} does not wait for its data; open it in blocking mode"
            raise ValueError(msg)


def _encode(name: str, string: str, num_characters: int) -> bytes:
    try:
        return string.encode()
    except UnicodeEncodeError as error:
        place = f"position {num_characters + error.start}"
        msg = f"{name} has half a surrogate pair at {place}, which UTF-8 cannot express"
        raise ValueError(msg) from None


class _File(_Text):
    """A file on disk, decompressed if its suffix says so."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.position = 0
        self._path = path

    def chunks(self) -> Iterator[bytes]:
        decompress = _DECOMPRESSORS.get(self._path.suffix.lower())
        # Unbuffered: large reads go straight to where they are wanted.
        with self._path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size if self._path.is_file() else 0
            if decompress is None:
                yield from self._read(file, BLOCK_BYTES)
            else:
                try:
                    yield from decompress(self._read(file, _COMPRESSED_BYTES))
                except _DamagedError as error:
                    msg = f"{self.name} is not whole: {error}; fetch or compress it again"
                    raise ValueError(msg) from error
        check_whole(self.name, size, self.position)

    def stretches(self, cuts: SafeCuts, size: int) -> Iterator[_Stretch]:
        # Of a plain file only the ends of stretches are read now, and each stretch by the thread that works
        # on it: no text is copied or handed from one processor to another.
        is_plain = self._path.suffix.lower() not in _DECOMPRESSORS and hasattr(os, "preadv")
        if not is_plain or not self._path.is_file() or self._path.stat().st_size == 0:  # as in /proc
            yield from super().stretches(cuts, size)
            return
        file = FileStretches(self._path, size)
        for begin, end in file.places(cuts):
            self.position = end
            yield _Stretch(end - begin, partial(file.read, begin, end), file.take_back)

    def _read(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        while chunk := file.read(size):
            self.position += len(chunk)
            yield chunk


# So little at a time that even what compresses best stays small in memory: a byte of gzip may stand for 1 KB,
# one of Zstandard for 32 KB.
_COMPRESSED_BYTES = 1 << 14
_ZSTD_BYTES = 1 << 9


class _DamagedError(Exception):
    """Compressed data are not what they should be."""


class _Decompressor(Protocol):
    """One member of a gzip file, one frame of a Zstandard file."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _decompress(
    compressed: Iterable[bytes],
    new: Callable[[], _Decompressor],
    errors: type[Exception],
    padding: bytes = b"",
) -> Iterator[bytes]:
    """Members or frames one after another, and `padding` between and after them."""
    current: _Decompressor | None = None
    for chunk in compressed:
        data = chunk
        while data:
            if current is None:
                if not (data := data.lstrip(padding)):
                    break
                current = new()
            try:
                text = current.decompress(data)
            except errors as error:
                raise _DamagedError(error) from None
            if text:
                yield text
            data = b""
            if current.eof:
                data, current = current.unused_data, None
    if current is not None:
        msg = "its end is missing"
        raise _DamagedError(msg)


def _gunzip(compressed: Iterable[bytes]) -> Iterator[bytes]:
    gzip_format = 16 + zlib.MAX_WBITS
    # Tapes and some downloads fill the last block with zeros; gzip(1) passes over them, too.
    return _decompress(compressed, lambda: zlib.decompressobj(gzip_format), zlib.error, padding=b"\0")


def _unzstd(compressed: Iterable[bytes]) -> Iterator[bytes]:
    compressed = (
        chunk[begin : begin + _ZSTD_BYTES]
        for chunk in compressed
        for begin in range(0, len(chunk), _ZSTD_BYTES)
    )
    if sys.version_info >= (3, 14):
        from compression import zstd

        return _decompress(compressed, zstd.ZstdDecompressor, zstd.ZstdError)
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        msg = "to read .zst files takes Python 3.14 or the package zstandard: pip install 'hornbook-bpe[zst]'"
        raise ModuleNotFoundError(msg, name="zstandard") from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)  # all that `zstd --long=31` makes
    return _decompress(compressed, decompressor.decompressobj, zstandard.ZstdError)


_DECOMPRESSORS = {".gz": _gunzip, ".zst": _unzstd}
