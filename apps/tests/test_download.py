"""Downloads against a server on this machine: cut, resumed, changed, refused; never a wrong file in place."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipes import download as module
from recipes.download import OPENWEBTEXT, TINYSTORIES, DownloadRecord, download, unpack, verify

BODY = Random(0).randbytes(3_000_000)
HASH = hashlib.sha256(BODY).hexdigest()


@dataclass
class Site:
    """What the server sends, and what it was asked."""

    body: bytes = BODY
    etag: str | None = '"one"'
    knows_ranges: bool = True
    ignores_if_range: bool = False
    cut_after: int | None = None  # bytes of the body, then the connection ends
    states_length: bool = True
    encoding: str | None = None
    redirect: str | None = None
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            if self.path == "/missing":
                self.send_error(404)
                return
            if state.redirect is not None and self.path == "/text.txt":
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            wanted = self.headers["Range"]
            same = self.headers["If-Range"] in (None, state.etag) or state.ignores_if_range
            if wanted and state.knows_ranges and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.body):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            if state.states_length:
                self.send_header("Content-Length", str(len(state.body) - start))
            if state.etag is not None:
                self.send_header("ETag", state.etag)
            if state.encoding is not None:
                self.send_header("Content-Encoding", state.encoding)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have had enough
                self.wfile.write(state.body[start : state.cut_after])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/text.txt"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut_download(site: Site, path: Path, offset: int) -> None:
    site.cut_after = offset
    with pytest.raises(OSError, match="call again to resume"):
        download(site.url, path)
    site.cut_after = None
    assert not path.exists()


def test_a_file_arrives_whole_with_its_record(site: Site, tmp_path: Path) -> None:
    path, seen = tmp_path / "data" / "text.txt", list[tuple[int, int | None]]()
    record = download(site.url, path, sha256=HASH.upper(), progress=lambda *at: seen.append(at))
    assert path.read_bytes() == BODY
    assert files(path.parent) == ["text.txt", "text.txt.json"]
    assert (record.url, record.bytes, record.sha256, record.etag) == (site.url, len(BODY), HASH, '"one"')
    saved = json.loads((path.parent / "text.txt.json").read_text())
    assert saved == {
        "url": site.url,
        "bytes": len(BODY),
        "sha256": HASH,
        "etag": '"one"',
        "date": record.date,
    }
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert verify(path) == verify(path, full=True) == record


def test_a_file_that_is_there_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    record = download(site.url, tmp_path / "text.txt")
    assert download(site.url, tmp_path / "text.txt", sha256=HASH) == record
    assert len(site.ranges) == 1


def test_a_file_put_there_by_hand_is_taken_but_not_vouched_for(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(BODY)
    assert download(site.url, path).sha256 == HASH
    assert site.ranges == []
    assert files(tmp_path) == ["text.txt"]
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"text.txt should have SHA-256 {HASH}, but the file found has"):
        download(site.url, path, sha256=HASH)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.one_of(st.sampled_from([1, 2**20, 2**20 + 1, len(BODY) - 1]), st.integers(1, len(BODY) - 1)))
def test_a_download_cut_anywhere_is_resumed_there(
    site: Site, tmp_path_factory: pytest.TempPathFactory, offset: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    cut_download(site, folder / "text.txt", offset)
    site.ranges.clear()
    kept = (folder / "text.txt.part").stat().st_size
    assert kept <= offset
    assert download(site.url, folder / "text.txt").sha256 == HASH
    assert site.ranges == [f"bytes={kept}-" if kept else None]
    assert (folder / "text.txt").read_bytes() == BODY
    assert files(folder) == ["text.txt", "text.txt.json"]


def test_a_download_cut_twice_is_resumed_twice(site: Site, tmp_path: Path) -> None:
    for offset in (1_100_000, 2_500_000):
        cut_download(site, tmp_path / "text.txt", offset)
    assert download(site.url, tmp_path / "text.txt").sha256 == HASH
    assert [bool(wanted) for wanted in site.ranges] == [False, True, True]


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.knows_ranges = False
    cut_download(site, tmp_path / "text.txt", 2_000_000)
    assert download(site.url, tmp_path / "text.txt").sha256 == HASH


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_resumed(site: Site, tmp_path: Path, etag: str | None) -> None:
    site.etag = etag
    cut_download(site, tmp_path / "text.txt", 2_000_000)
    site.body = BODY[::-1]
    download(site.url, tmp_path / "text.txt")
    assert site.ranges == [None, None]
    assert (tmp_path / "text.txt").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_the_part_of_another_version_is_thrown_away(
    site: Site, tmp_path: Path, ignores_if_range: bool
) -> None:
    cut_download(site, tmp_path / "text.txt", 2_000_000)
    site.body, site.etag, site.ignores_if_range = BODY[::-1], '"two"', ignores_if_range
    download(site.url, tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_bytes() == BODY[::-1]
    # The server that heeds If-Range sends the whole new file at once; the other one is asked again.
    assert len(site.ranges) == (3 if ignores_if_range else 2)


def test_the_part_of_another_address_is_thrown_away(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path / "text.txt", 2_000_000)
    download(site.url.replace("text", "other"), tmp_path / "text.txt")
    assert site.ranges == [None, None]


def test_a_part_as_long_as_the_file_is_fetched_again(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path / "text.txt", 2_000_000)
    site.body = BODY[: (tmp_path / "text.txt.part").stat().st_size]
    download(site.url, tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_bytes() == site.body


def test_a_body_of_unknown_length_is_taken_to_its_end(site: Site, tmp_path: Path) -> None:
    site.states_length = False
    assert download(site.url, tmp_path / "text.txt", sha256=HASH).bytes == len(BODY)


def test_a_wrong_hash_leaves_nothing_under_any_name(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"should have SHA-256 {'0' * 64}, but the file found has {HASH}"):
        download(site.url, tmp_path / "text.txt", sha256="0" * 64)
    assert files(tmp_path) == []


def test_a_second_download_must_agree_with_the_first(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    download(site.url, path)
    path.unlink()
    site.body = BODY[::-1]
    with pytest.raises(ValueError, match=rf"had SHA-256 {HASH} on .*delete .*text\.txt\.json"):
        download(site.url, path)
    assert files(tmp_path) == ["text.txt.json"]


def test_a_missing_page_is_one_clear_line(site: Site, tmp_path: Path) -> None:
    url = site.url.replace("text.txt", "missing")
    with pytest.raises(OSError, match="404 Not Found") as failure:
        download(url, tmp_path / "text.txt")
    line = str(failure.value)
    assert url in line
    assert f"put the file at {tmp_path / 'text.txt'} yourself, or run without --data" in line
    assert "\n" not in line
    assert files(tmp_path) == []


def test_no_network_is_one_clear_line(site: Site, tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"cannot download http://127\.0\.0\.1:1/x: .*refused.*put the file at"
    ) as failure:
        download("http://127.0.0.1:1/x", tmp_path / "x")
    assert "\n" not in str(failure.value)
    assert files(tmp_path) == []


def test_a_compressed_answer_is_not_taken_for_the_file(site: Site, tmp_path: Path) -> None:
    site.encoding = "gzip"
    with pytest.raises(OSError, match="sends it as gzip"):
        download(site.url, tmp_path / "text.txt")
    assert files(tmp_path) == []


def test_a_redirect_is_followed_and_still_resumed(site: Site, tmp_path: Path) -> None:
    site.redirect = "/elsewhere.txt"
    cut_download(site, tmp_path / "text.txt", 2_000_000)
    assert download(site.url, tmp_path / "text.txt").sha256 == HASH
    assert site.ranges[-1] is not None


def test_a_redirect_in_a_circle_ends(site: Site, tmp_path: Path) -> None:
    site.redirect = "/text.txt"
    with pytest.raises(OSError, match="302"):
        download(site.url, tmp_path / "text.txt")
    assert files(tmp_path) == []


@pytest.mark.parametrize("target", ["http://example.org/x", "ftp://example.org/x"])
def test_a_redirect_away_from_https_is_refused(site: Site, tmp_path: Path, target: str) -> None:
    site.redirect = target
    with pytest.raises(OSError, match=re.escape(f"redirected to {target}, which is not https")):
        download(site.url, tmp_path / "text.txt")
    assert files(tmp_path) == []


def test_https_is_never_left_even_for_this_machine() -> None:
    assert not module._is_allowed("http://127.0.0.1/x", "https://example.org/x")
    assert module._is_allowed("https://cdn.example.org/x", "https://example.org/x")


@pytest.mark.parametrize("url", ["http://example.org/x", "file:///etc/hosts", "ftp://127.0.0.1/x", "x.txt"])
def test_an_address_that_is_not_https_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=f"only https addresses are downloaded .*got {re.escape(url)}"):
        download(url, tmp_path / "x")


def test_a_hash_that_is_no_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sha256 must be 64 hexadecimal digits, got 'abc'"):
        download("https://example.org/x", tmp_path / "x", sha256="abc")


def test_too_small_a_disk_is_known_before_it_is_filled(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2_999_999))
    with pytest.raises(
        OSError, match=r"cannot write .*text\.txt\.part.*3,000,000 bytes are needed"
    ) as failure:
        download(site.url, tmp_path / "text.txt")
    assert failure.value.errno == errno.ENOSPC
    assert files(tmp_path) == []


def test_a_disk_that_fills_up_keeps_the_part_for_later(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="3,000,000 bytes are needed"):
            download(site.url, tmp_path / "text.txt")
    assert not (tmp_path / "text.txt").exists()
    assert download(site.url, tmp_path / "text.txt").sha256 == HASH


def test_verify_finds_a_shorter_file_and_in_full_a_flipped_bit(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    with pytest.raises(FileNotFoundError, match=r"text\.txt has no record text\.txt\.json"):
        verify(path)
    download(site.url, path)
    flipped = bytearray(BODY)
    flipped[1_234_567] ^= 1
    path.write_bytes(flipped)
    assert isinstance(verify(path), DownloadRecord)
    with pytest.raises(ValueError, match=f"has SHA-256 .*, but {HASH} was downloaded on"):
        verify(path, full=True)
    path.write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match="has 2,999,999 bytes, but 3,000,000 were downloaded on"):
        verify(path)
    with pytest.raises(ValueError, match="has 2,999,999 bytes"):
        download(site.url, path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}'])
def test_a_spoilt_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is not the record of a download .*delete it"):
        verify(tmp_path / "x")


def test_tinystories_lies_on_the_hub() -> None:
    assert list(TINYSTORIES) == ["TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"]
    hub = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/"
    assert all(url == hub + name for name, url in TINYSTORIES.items())


def test_openwebtext_lies_on_the_hub_in_parcels() -> None:
    assert list(OPENWEBTEXT) == ["owt_train.txt.gz", "owt_valid.txt.gz"]
    hub = "https://huggingface.co/datasets/stanford-cs336/owt-sample/resolve/main/"
    assert all(url == hub + name for name, url in OPENWEBTEXT.items())


def test_a_parcel_is_unpacked_with_a_record_of_its_own(site: Site, tmp_path: Path) -> None:
    text = b"One day.\n<|endoftext|>\n" * 100_000
    site.body = gzip.compress(text)
    download(site.url, tmp_path / "text.txt.gz")
    seen: list[tuple[int, int | None]] = []
    record = unpack(tmp_path / "text.txt.gz", progress=lambda *at: seen.append(at))
    assert (tmp_path / "text.txt").read_bytes() == text
    assert (record.url, record.bytes) == (site.url, len(text))
    assert verify(tmp_path / "text.txt", full=True) == record
    assert seen[-1] == (len(site.body), len(site.body))


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-100], lambda raw: raw[:50] + b"?" + raw[51:], lambda _: b"x"]
)
def test_a_damaged_parcel_leaves_nothing(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    (tmp_path / "text.txt.gz").write_bytes(spoil(gzip.compress(BODY)))
    with pytest.raises(OSError, match=r"text\.txt\.gz can't be unpacked .*download it again"):
        unpack(tmp_path / "text.txt.gz")
    assert files(tmp_path) == ["text.txt.gz"]
