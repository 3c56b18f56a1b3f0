"""Checkpoints made to do harm: nothing runs, and they are refused before they take time or memory."""

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.conftest import Server
from hornbook.trainer import Checkpoints
from tiny_run import Bigram, adamw

MOST_BYTES = 200_000_000
NAME = "step-00000001"


class Bomb:
    """Would make a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def a_file(header: bytes, size: int | None = None, data: bytes = b"") -> bytes:
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
FILES: dict[str, bytes] = {
    "a header of 2**63 bytes": a_file(b"{}", 2**63),
    "a header of 100 MB": a_file(b'{"a": "' + b"x" * 10**8 + b'"}'),
    "100 MB of brackets": a_file(b"[" * 10**8),
    "depth 100,000": a_file(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "4 MB of lists": a_file(b'{"a": [' + b"[]," * 1_390_000 + b"[]]}"),
    "4 MB of objects": a_file(b'{"a": [' + b"{}," * 1_390_000 + b"{}]}"),
    "overlapping offsets": a_file(json.dumps({"a": GOOD, "b": GOOD}).encode(), data=bytes(8)),
    "a hole": a_file(json.dumps({"a": GOOD | {"data_offsets": [8, 16]}}).encode(), data=bytes(16)),
    "the same key twice": a_file(b'{"a": 1, "a": 2}'),
    "NaN": a_file(b'{"__metadata__": NaN}'),
    "a number of a million digits": a_file(b'{"a": ' + b"9" * 10**6 + b"}"),
    "a shape of 2**62": a_file(json.dumps({"a": GOOD | {"shape": [2**62, 2**62]}}).encode()),
    "a negative size": a_file(json.dumps({"a": GOOD | {"shape": [-2, -1]}}).encode(), data=bytes(8)),
    "not text": b"\x93NUMPY\x01\x00" + bytes(100),
    "an archive": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
}


def saved(directory: Path) -> Path:
    model = Bigram()
    return Checkpoints(directory).save(1, model, adamw(model), wallclock_seconds=0.0)


def with_manifest(path: Path) -> None:
    """As somebody hostile would: the manifest fits what the files hold now."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    for name, record in manifest.items():
        if name != "version":
            raw = (path / name).read_bytes()
            record |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            if "header_sha256" in record:
                header = raw[: 8 + int.from_bytes(raw[:8], "little")]
                record["header_sha256"] = hashlib.sha256(header).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))


def make_manifest(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_bytes())
        change(manifest)
        (path / "manifest.json").write_text(json.dumps(manifest, indent=1))

    return make


def write_manifest(raw: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        (path / "manifest.json").write_bytes(raw)

    return make


def link_file(path: Path) -> None:
    shutil.copy(path / "model.safetensors", path.parent.parent / "elsewhere")
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to(path.parent.parent / "elsewhere")


def link_directory(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def pipe(path: Path) -> None:
    (path / "state.json").unlink()
    os.mkfifo(path / "state.json")


def deep_state(path: Path) -> None:
    (path / "state.json").write_bytes(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    with_manifest(path)


def huge_file(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(a_file(header))
        file.truncate(8 + len(header) + 2**40)
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["model.safetensors"]["bytes"] = 8 + len(header) + 2**40
    manifest["model.safetensors"]["header_sha256"] = hashlib.sha256(a_file(header)).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))


DIRECTORIES: dict[str, Callable[[Path], None]] = {
    "../ in a manifest": make_manifest(lambda m: m.update({"../../elsewhere": m.pop("model.safetensors")})),
    "an absolute path in a manifest": make_manifest(lambda m: m.update({"/etc/passwd": m["state.json"]})),
    "a manifest of 100 MB": write_manifest(b'{"a": "' + b"x" * 10**8 + b'"}'),
    "a manifest with a key twice": write_manifest(b'{"a":1,"a":1}'),
    "a file that is a link": link_file,
    "a checkpoint that is a link": link_directory,
    "a pipe": pipe,
    "a state of depth 100,000": deep_state,
    "a sparse file of 1 TB": huge_file,
}


def check(done: dict[str, object]) -> tuple[float, float]:
    """It was refused as it should be; the seconds and megabytes that it took."""
    output = str(done["output"])
    assert done["code"] == 2, output
    assert "Traceback" not in output, output
    found = re.search(r"seconds ([\d.]+) megabytes ([\d.]+)", output)
    assert found, output
    return float(found[1]), float(found[2])


def test_hostile_files_are_refused(server: Server, tmp_path: Path, figure: Callable[[str], None]) -> None:
    marker = tmp_path / "was-run"
    files = FILES | {"a pickle": pickle.dumps(Bomb(marker)), "many": pickle.dumps([Bomb(marker)] * 9)}
    took = []
    for name, raw in files.items():
        path = tmp_path / "bad.pt"
        path.write_bytes(raw)
        done = server.run("load", path=str(path), most_bytes=MOST_BYTES)
        assert f"{path} " in done["output"], (name, done["output"])
        took.append(check(done))
        assert not marker.exists()
    seconds, megabytes = (max(values) for values in zip(*took, strict=True))
    figure(f"hostile files: {len(took)} refused, at most {seconds:.2f} s and {megabytes:.0f} MB")


@pytest.mark.parametrize("part", ["model.safetensors", "training.safetensors"])
def test_hostile_files_in_a_checkpoint_that_fits_them_are_refused(
    part: str, server: Server, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    took = []
    for name, raw in FILES.items():
        path = saved(tmp_path / name / "checkpoints")
        (path / part).write_bytes(raw)
        with_manifest(path)
        done = server.run("load", path=str(path.parent), most_bytes=MOST_BYTES)
        assert f"{path / part} " in done["output"], (name, done["output"])
        took.append(check(done))
    seconds, megabytes = (max(values) for values in zip(*took, strict=True))
    figure(f"hostile {part}: {len(took)} refused, at most {seconds:.2f} s and {megabytes:.0f} MB")


def test_hostile_checkpoints_are_refused(
    server: Server, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    took = []
    for number, (name, make) in enumerate(DIRECTORIES.items()):
        path = saved(tmp_path / str(number) / "checkpoints")
        make(path)
        done = server.run("load", path=str(path.parent), most_bytes=MOST_BYTES)
        assert str(path) in done["output"] or "the model has" in done["output"], (name, done["output"])
        took.append(check(done))
    seconds, megabytes = (max(values) for values in zip(*took, strict=True))
    figure(f"hostile directories: {len(took)} refused, at most {seconds:.2f} s and {megabytes:.0f} MB")
