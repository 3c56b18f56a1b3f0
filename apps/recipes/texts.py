"""The texts of a run: a data set, your own, or what every machine has; found, checked, fingerprinted."""

import mmap
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, assert_never

from hornbook.trainer import known_sha256, made_directory, sha256_of_file

from .console import file_progress
from .download import OPENWEBTEXT, TINYSTORIES, check_digest, download, unpack
from .library import PYTHON_NAME, library_version, write_library
from .room import check_free_bytes
from .stories import END_OF_TEXT, Split, version, write_stories

SAMPLE_NAME = "generated sample, not TinyStories"
DataSet = Literal["tinystories", "openwebtext"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFlags:
    """Where the texts come from."""

    data: Literal["auto", "tinystories", "openwebtext", "sample", "python"] = "auto"
    """tinystories and openwebtext are downloaded, sample is generated, python is the source of Python's own
    library; auto is the data set if on disk, else what takes its place: sample for stories, python for the
    web."""
    train_text: Path | None = None
    """Any UTF-8 text, its documents separated by <|endoftext|>; goes with --valid-text."""
    valid_text: Path | None = None
    """The held-out text."""
    data_dir: Path = Path("data")
    """Where texts, tokenizers and token files are kept."""
    sample_megabytes: int = 10
    """Size of the generated training text, in 10**6 bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """A training text and a held-out text, neither of them read yet."""

    name: str  # for people
    slug: str  # for directory names
    train: Path
    valid: Path
    source: Literal["own", "tinystories", "openwebtext", "sample", "python"] = "own"
    num_bytes: int = 0  # of the training text, if it is made here

    @property
    def valid_name(self) -> str:
        """Of the held-out text, for people."""
        return self.valid.name if self.source == "own" else self.name


def settled(flags: TextFlags, wanted: DataSet) -> TextFlags:
    """Return the flags with the place of "auto" taken by what it means for a data set."""
    if flags.data != "auto" or flags.train_text is not None or flags.valid_text is not None:
        return flags
    source = choose_texts(flags, wanted).source
    assert source != "own"  # no text was given
    return replace(flags, data=source)


def choose_texts(flags: TextFlags, wanted: DataSet = "tinystories") -> Texts:
    """Decide which texts the flags mean. Reads and writes nothing.

    Args:
        flags: As they were given.
        wanted: The data set that "auto" stands for where it is on disk.

    Raises:
        ValueError: If the flags contradict each other.
    """
    if (flags.train_text is None) != (flags.valid_text is None):
        given, missing = ("--train-text", "--valid-text")
        if flags.train_text is None:
            given, missing = missing, given
        msg = f"{given} needs {missing} too: the loss is measured on text that the model was not trained on"
        raise ValueError(msg)
    if flags.train_text is not None and flags.valid_text is not None:
        if flags.data != "auto":
            msg = f"--data {flags.data} and --train-text are two sources: give one of them"
            raise ValueError(msg)
        name = flags.train_text.name
        return Texts(name=name, slug=flags.train_text.stem, train=flags.train_text, valid=flags.valid_text)
    data = flags.data
    if data == "auto":
        there = choose_texts(replace(flags, data=wanted))
        if there.train.exists() and there.valid.exists():
            return there
        data = "sample" if wanted == "tinystories" else "python"
    if flags.sample_megabytes < 1:
        msg = f"--sample-megabytes must be at least 1, got {flags.sample_megabytes}"
        raise ValueError(msg)
    size = flags.sample_megabytes * 10**6
    if data == "tinystories":
        return _texts(flags, "TinyStories", "tinystories", data, [*TINYSTORIES])
    if data == "openwebtext":
        return _texts(
            flags, "OpenWebText", "openwebtext", data, [name.removesuffix(".gz") for name in OPENWEBTEXT]
        )
    if data == "sample":
        stem, name, slug = f"generated-sample-{version()}", SAMPLE_NAME, "generated-sample"
    elif data == "python":
        stem, name, slug = f"python-library-{library_version()}", PYTHON_NAME, "python-library"
    else:
        assert_never(data)
    files = [f"{stem}-{flags.sample_megabytes}MB-{half}.txt" for half in ("train", "valid")]
    return replace(_texts(flags, name, slug, data, files), num_bytes=size)


def _texts(
    flags: TextFlags,
    name: str,
    slug: str,
    source: Literal["tinystories", "openwebtext", "sample", "python"],
    files: list[str],
) -> Texts:
    train, valid = (flags.data_dir / file for file in files)
    return Texts(name=name, slug=slug, train=train, valid=valid, source=source)


def provide(texts: Texts) -> None:
    """Generate or download what is not on disk yet. The user's own texts must be there."""
    directory = texts.train.parent
    if texts.source in ("tinystories", "openwebtext"):
        for name, url in (TINYSTORIES if texts.source == "tinystories" else OPENWEBTEXT).items():
            if not (directory / name.removesuffix(".gz")).exists():
                with made_directory(directory), file_progress(f"downloading {name}") as progress:
                    download(url, directory / name, progress=progress)
                if name.endswith(".gz"):
                    with file_progress(f"unpacking {name}") as progress:
                        unpack(directory / name, progress=progress)
    if texts.source in ("sample", "python"):
        generate(texts.source, "train", texts.train, texts.num_bytes)
        generate(texts.source, "valid", texts.valid, max(500_000, texts.num_bytes // 20))


def generate(source: Literal["sample", "python"], split: Split, path: Path, num_bytes: int) -> None:
    """Write one half of a text that every machine has, if it isn't there."""
    if path.exists():
        return
    if source == "sample":  # the library ends by itself
        check_free_bytes(
            path.parent, num_bytes, "the stories", "give fewer --sample-megabytes or another --data-dir"
        )
    what = "stories" if source == "sample" else "Python's library"
    with file_progress(f"writing {what} to {path}") as progress:
        if source == "sample":
            write_stories(path, num_bytes=num_bytes, seed=0, split=split, progress=progress)
        else:
            write_library(path, num_bytes=num_bytes, split=split, progress=progress)


def check_text(path: Path, flag: str, context_length: int) -> None:
    """Refuse a text that can't be trained on before anything is written.

    Raises:
        ValueError: If it is missing, empty, shorter than a context, or a single document.
    """
    if not path.is_file():
        msg = f"{flag}: there is no file {path}"
        raise ValueError(msg)
    size = path.stat().st_size
    if size == 0:
        msg = f"{flag}: {path} is empty"
        raise ValueError(msg)
    if size <= context_length:  # a token is at least a byte
        msg = (
            f"{flag}: {path} has {size} bytes, a window of context_length={context_length} needs more: "
            "give more text or a shorter --context-length"
        )
        raise ValueError(msg)
    separator = END_OF_TEXT.encode()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        begin, num_documents = 0, 0
        while num_documents < 2 and begin < len(text):
            end = text.find(separator, begin)
            end = len(text) if end < 0 else end
            num_documents += bool(text[begin:end].strip())
            begin = end + len(separator)
    if num_documents < 2:
        found = "no document" if num_documents == 0 else "one document"
        msg = (
            f"{flag}: {path} holds {found}, at least two are needed: "
            f"put {END_OF_TEXT} between them, it is how the model learns where a text ends"
        )
        raise ValueError(msg)


def provide_checked(texts: Texts, context_length: int) -> dict[str, str]:
    """Generate or download what is missing, look at both texts, and return their fingerprints.

    Raises:
        ValueError: As `check_text` and `fingerprints`.
    """
    provide(texts)
    check_text(texts.train, "--train-text", context_length)
    check_text(texts.valid, "--valid-text", context_length)
    return fingerprints(texts)


def fingerprints(texts: Texts) -> dict[str, str]:
    """Return the SHA-256 of both texts: the names under which all that is made of them is cached.

    Raises:
        ValueError: If a downloaded text is no longer what was downloaded, or both are the same.
    """
    digests = {}
    for name, path in (("train_sha256", texts.train), ("valid_sha256", texts.valid)):
        is_download = texts.source in ("tinystories", "openwebtext")
        # Gigabytes that we put there ourselves; beside a user's own file nothing is written.
        digests[name] = known_sha256(path) if is_download else _sha256(path)
        if is_download:
            check_digest(path, digests[name])
    if digests["train_sha256"] == digests["valid_sha256"]:
        msg = f"{texts.train} and {texts.valid} are the same text: the loss must be measured on another one"
        raise ValueError(msg)
    return digests


def _sha256(path: Path) -> str:
    """Read a file once in a process, as long as it looks the same: before torch's import and after it."""
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@cache
def _sha256_of(path: Path, *_looks: int) -> str:
    return sha256_of_file(path)
