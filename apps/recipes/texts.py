"""The texts of a run: TinyStories, your own, or the generated sample; found, checked, fingerprinted."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hornbook.trainer import made_directory, sha256_of_file

from .console import file_progress
from .download import TINYSTORIES, check_digest, download
from .stories import END_OF_TEXT, Split, version, write_stories

SAMPLE_NAME = "generated sample, not TinyStories"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFlags:
    """Where the texts come from."""

    data: Literal["auto", "tinystories", "sample"] = "auto"
    """tinystories is downloaded, sample is generated; auto is TinyStories if on disk, else the sample."""
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
    generated_bytes: int = 0  # of the training text, if it is the generated sample
    is_download: bool = False  # whether the files are TinyStories from the hub, or come from there


def choose_texts(flags: TextFlags) -> Texts:
    """Decide which texts the flags mean. Reads and writes nothing.

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
    train, valid = (flags.data_dir / file for file in TINYSTORIES)
    if flags.data == "tinystories" or (flags.data == "auto" and train.exists() and valid.exists()):
        return Texts(name="TinyStories", slug="tinystories", train=train, valid=valid, is_download=True)
    if flags.sample_megabytes < 1:
        msg = f"--sample-megabytes must be at least 1, got {flags.sample_megabytes}"
        raise ValueError(msg)
    stem = f"generated-sample-{version()}-{flags.sample_megabytes}MB"
    return Texts(
        name=SAMPLE_NAME,
        slug="generated-sample",
        train=flags.data_dir / f"{stem}-train.txt",
        valid=flags.data_dir / f"{stem}-valid.txt",
        generated_bytes=flags.sample_megabytes * 10**6,
    )


def provide(texts: Texts) -> None:
    """Generate or download what is not on disk yet. The user's own texts must be there."""
    if texts.is_download:
        for name, url in TINYSTORIES.items():
            path = texts.train.parent / name
            if not path.exists():
                with made_directory(path.parent), file_progress(f"downloading {name}") as progress:
                    download(url, path, progress=progress)
    if texts.generated_bytes:
        generate("train", texts.train, texts.generated_bytes)
        generate("valid", texts.valid, max(500_000, texts.generated_bytes // 20))


def generate(split: Split, path: Path, num_bytes: int) -> None:
    """Write one half of the sample, if it isn't there."""
    if not path.exists():
        with file_progress(f"writing stories to {path}") as progress:
            write_stories(path, num_bytes=num_bytes, seed=0, split=split, progress=progress)


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


def fingerprints(texts: Texts) -> dict[str, str]:
    """Return the SHA-256 of both texts: the names under which all that is made of them is cached.

    Raises:
        ValueError: If a downloaded text is no longer what was downloaded, or both are the same.
    """
    digests = {}
    for name, path in (("train_sha256", texts.train), ("valid_sha256", texts.valid)):
        digests[name] = sha256_of_file(path)
        if texts.is_download:
            check_digest(path, digests[name])
    if digests["train_sha256"] == digests["valid_sha256"]:
        msg = f"{texts.train} and {texts.valid} are the same text: the loss must be measured on another one"
        raise ValueError(msg)
    return digests
