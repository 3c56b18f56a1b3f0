"""Download a file over HTTPS: resumed where it was cut, checked, and never half there under its final name.

Beside `name` lie `name.part` and `name.part.json` while a download is under way, and `name.json` after it:
the record with URL, size, SHA-256, ETag and date. Where nobody published a hash, the first download is
trusted and recorded, and every later one must agree with the record.
"""

import errno
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from hornbook.trainer import atomic_file

_HUB = "https://huggingface.co/datasets"
# The training text and the validation text of both data sets, by file name. Their SHA-256 are not known here:
# the first download is trusted and recorded.
TINYSTORIES = {
    name: f"{_HUB}/roneneldan/TinyStories/resolve/main/{name}"
    for name in ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt")
}
OPENWEBTEXT = {
    name: f"{_HUB}/stanford-cs336/owt-sample/resolve/main/{name}"
    for name in ("owt_train.txt.gz", "owt_valid.txt.gz")
}
_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if the server says


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """What was downloaded; kept as JSON beside the file."""

    url: str
    bytes: int
    sha256: str  # 64 lower-case hexadecimal digits
    etag: str | None  # the server's name for this version of the file
    date: str  # ISO 8601, UTC


def download(
    url: str, destination: Path, *, sha256: str | None = None, progress: Progress | None = None
) -> DownloadRecord:
    """Bring a file here, or check the one that is here already.

    A download that was cut is resumed by the next call if the server still has the same version (its ETag).

    Args:
        url: An https address; http only on this machine (127.0.0.1). A redirect must lead to https again.
        destination: Where the file goes; its folder is made if need be.
        sha256: The file's SHA-256 in hexadecimal, if it is known from elsewhere.
        progress: Called with the bytes received so far, and the bytes in all or None.

    Returns:
        The record, also written to `<destination>.json` unless the file was there without one.

    Raises:
        OSError: If the server cannot be reached or refuses, the connection breaks, or the disk is full.
        ValueError: If the address is not https, or the file is not that of `sha256` or of an earlier record.
    """
    if not _is_allowed(url, url):
        msg = f"only https addresses are downloaded (http on 127.0.0.1 alone), got {url}"
        raise ValueError(msg)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        msg = f"sha256 must be 64 hexadecimal digits, got {sha256!r}"
        raise ValueError(msg)
    sha256 = sha256.lower() if sha256 else None
    known = _read_record(destination)
    if destination.exists():
        if known is not None:
            known = verify(destination)
        else:  # put there by hand: whence it came is not ours to record
            known = _record(url, destination.stat().st_size, _sha256_of(destination).hexdigest(), None)
        _check_hash(destination, known.sha256, sha256, None)
        return known

    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        digest, num_bytes, etag = _fetch(url, destination, progress)
        part = _beside(destination, ".part")
        try:
            _check_hash(destination, digest, sha256, known if known and known.url == url else None)
        except ValueError:
            _discard(destination)
            raise
        part.replace(destination)
        record = _record(url, num_bytes, digest, etag)
        _write_json(_beside(destination, ".json"), asdict(record))
        _beside(destination, ".part.json").unlink(missing_ok=True)
    except HTTPError as error:
        error.close()
        raise _failure(url, destination, f"the server answers {error.code} {error.reason}") from error
    except URLError as error:
        raise _failure(url, destination, str(error.reason)) from error
    return record


def verify(path: Path, *, full: bool = False) -> DownloadRecord:
    """Check a downloaded file against its record.

    Args:
        path: The file; its record lies beside it as `<path>.json`.
        full: Compare the SHA-256 too, which reads the whole file; else only the size.

    Raises:
        FileNotFoundError: If the file or its record is missing.
        ValueError: If the file is not the recorded one, or the record cannot be read.
    """
    record = _read_record(path)
    if record is None:
        msg = f"{path} has no record {_beside(path, '.json').name}: download it, or check it by hand"
        raise FileNotFoundError(errno.ENOENT, msg)
    size = path.stat().st_size
    if size != record.bytes:
        msg = (
            f"{path} has {size:,} bytes, but {record.bytes:,} were downloaded on {record.date}; "
            "delete it and download it again"
        )
        raise ValueError(msg)
    if full:
        check_digest(path, _sha256_of(path).hexdigest())
    return record


def check_digest(path: Path, sha256: str) -> None:
    """Compare the SHA-256 that a file has now with its record's, if it has a record.

    Raises:
        ValueError: If they differ.
    """
    record = _read_record(path)
    if record is not None and record.sha256 != sha256:
        msg = (
            f"{path} has SHA-256 {sha256}, but {record.sha256} was downloaded on {record.date}; "
            "delete it and download it again"
        )
        raise ValueError(msg)


def unpack(packed: Path, *, progress: Progress | None = None) -> DownloadRecord:
    """Unpack a .gz that was downloaded, under its name without .gz and with a record of its own.

    Args:
        packed: The file; it stays.
        progress: Called with the packed bytes read so far, and all of them.

    Raises:
        OSError: If the file is cut or damaged, or the disk is full; nothing is left then.
    """
    destination = packed.with_suffix("")
    known, digest, num_bytes, size = _read_record(packed), hashlib.sha256(), 0, packed.stat().st_size
    with packed.open("rb") as raw, gzip.open(raw) as text, atomic_file(destination) as file:
        try:
            while chunk := text.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                num_bytes += len(chunk)
                if progress is not None:
                    progress(raw.tell(), size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            msg = f"{packed} can't be unpacked ({error}): delete it and its .json and download it again"
            raise OSError(msg) from error
    record = _record(known.url if known else str(packed), num_bytes, digest.hexdigest(), None)
    _write_json(_beside(destination, ".json"), asdict(record))
    return record


def _fetch(url: str, destination: Path, progress: Progress | None) -> tuple[str, int, str | None]:
    """Complete the .part file; return its SHA-256, its size and its ETag."""
    part, state = _beside(destination, ".part"), _beside(destination, ".part.json")
    offset, etag = _resumable(part, state, url)
    with _open_url(url, offset, etag) as response:
        if offset and not _continues(response, offset, etag):
            if response.status == http.client.PARTIAL_CONTENT:  # a part of something else
                _discard(destination)
                return _fetch(url, destination, progress)
            offset = 0  # the whole file: the server knows no ranges, or has another version
        elif not offset and response.status != http.client.OK:
            reason = f"the server answers {response.status}, not 200"
            raise _failure(url, destination, reason)
        if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
            raise _failure(url, destination, f"the server sends it as {encoding}, which was not asked for")
        etag = response.headers.get("ETag")
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length is not None else None
        _require_space(destination, total, offset)
        digest = _sha256_of(part) if offset else hashlib.sha256()
        received = offset
        try:
            with part.open("ab" if offset else "wb") as file:
                # After the old bytes are gone: the new ETag must not vouch for them.
                _write_json(state, {"url": url, "etag": etag})
                for chunk in _chunks(response):
                    file.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
                    if progress is not None:
                        progress(received, total)
                file.flush()
                os.fsync(file.fileno())
        except _BrokenConnectionError as error:
            reason = f"the connection broke after {received:,} bytes ({error}); call again to resume"
            raise _failure(url, destination, reason) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise _no_space(destination, total, error.strerror) from error
    if total is not None and received != total:
        reason = f"the connection ended after {received:,} of {total:,} bytes; call again to resume"
        raise _failure(url, destination, reason)
    return digest.hexdigest(), received, etag


class _BrokenConnectionError(Exception):
    """Reading failed, which is told apart here from a failure to write."""


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK_BYTES)
        except (http.client.HTTPException, OSError) as error:
            raise _BrokenConnectionError(repr(error)) from error
        if not chunk:
            return
        yield chunk


def _resumable(part: Path, state: Path, url: str) -> tuple[int, str | None]:
    """How many bytes of the .part can be kept, and the ETag that must still hold."""
    try:
        saved = json.loads(state.read_text(encoding="utf-8"))
        size = part.stat().st_size
    except (OSError, ValueError):
        return 0, None
    etag = saved.get("etag") if isinstance(saved, dict) and saved.get("url") == url else None
    # A weak ETag (W/...) promises the same meaning, not the same bytes (RFC 9110, section 13.1.5).
    if not isinstance(etag, str) or etag.startswith("W/"):
        return 0, None
    return size, etag


def _open_url(url: str, offset: int, etag: str | None) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity", "User-Agent": "hornbook"}
    if offset and etag is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": etag}
    opener = build_opener(_NoDowngrade(url))
    try:
        response: Any = opener.open(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except HTTPError as error:
        if offset and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            error.close()
            return _open_url(url, 0, None)
        raise
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise URLError(repr(error)) from error
    opened: http.client.HTTPResponse = response
    return opened


def _continues(response: http.client.HTTPResponse, offset: int, etag: str | None) -> bool:
    return (
        response.status == http.client.PARTIAL_CONTENT
        and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        and response.headers.get("ETag") in (None, etag)
    )


class _NoDowngrade(HTTPRedirectHandler):
    """Follow redirects, but never from https to http."""

    def __init__(self, first_url: str) -> None:
        self._first_url = first_url

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        if not _is_allowed(newurl, self._first_url):
            fp.close()
            reason = f"redirected to {newurl}, which is not https"
            raise URLError(reason)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_allowed(url: str, first_url: str) -> bool:
    """Tell whether this is https, or loopback http that was http from the start."""
    target = urlsplit(url)
    on_loopback = target.scheme == "http" and target.hostname in _LOOPBACK
    return target.scheme == "https" or (on_loopback and urlsplit(first_url).scheme == "http")


def _check_hash(path: Path, found: str, expected: str | None, earlier: DownloadRecord | None) -> None:
    if expected is not None and found != expected:
        msg = f"{path} should have SHA-256 {expected}, but the file found has {found}"
        raise ValueError(msg)
    if earlier is not None and found != earlier.sha256:
        msg = (
            f"{path} had SHA-256 {earlier.sha256} on {earlier.date}, but now {earlier.url} sends {found}; "
            f"if the file was really changed there, delete {_beside(path, '.json')} and download it again"
        )
        raise ValueError(msg)


def _require_space(destination: Path, total: int | None, offset: int) -> None:
    if total is not None and shutil.disk_usage(destination.parent).free < total - offset:
        raise _no_space(destination, total, os.strerror(errno.ENOSPC))


def _no_space(destination: Path, total: int | None, reason: str | None) -> OSError:
    needed = f"{total:,} bytes are needed" if total is not None else "the size is not known"
    msg = f"cannot write {_beside(destination, '.part')}: {reason}; {needed}: make room and call again"
    return OSError(errno.ENOSPC, msg)


def _failure(url: str, destination: Path, reason: str) -> OSError:
    msg = (
        f"cannot download {url}: {reason}; or put the file at {destination} yourself, "
        "or run without --data for the generated sample"
    )
    return OSError(msg)


def _record(url: str, num_bytes: int, digest: str, etag: str | None) -> DownloadRecord:
    return DownloadRecord(url, num_bytes, digest, etag, datetime.now(UTC).isoformat(timespec="seconds"))


def _read_record(path: Path) -> DownloadRecord | None:
    record = _beside(path, ".json")
    try:
        return DownloadRecord(**json.loads(record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        msg = f"{record} is not the record of a download ({error}); delete it"
        raise ValueError(msg) from error


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")


def _sha256_of(path: Path) -> "hashlib._Hash":
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _discard(destination: Path) -> None:
    for suffix in (".part", ".part.json"):
        _beside(destination, suffix).unlink(missing_ok=True)
