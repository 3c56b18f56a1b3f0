"""The command line of the experiments with tokenizers."""

from dataclasses import dataclass, replace
from pathlib import Path

from .console import say
from .prepare import check_vocab_size
from .texts import TextFlags, Texts, check_text, choose_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """Which corpora, and how large the vocabularies."""

    texts: tuple[Path, Path] | None = None
    """Two UTF-8 texts of your own, their documents separated by <|endoftext|>; go with --held-out."""
    held_out: tuple[Path, Path] | None = None
    """A text like each of them, for measuring compression on what the tokenizer hasn't seen."""
    vocab_sizes: tuple[int, int] = (10_000, 32_000)
    """Tokens of the tokenizer of the first and of the second corpus."""
    num_documents: int = 10
    """Documents sampled from each text."""
    seed: int = 0
    """Decides which documents."""
    data_dir: Path = Path("data")
    """Where TinyStories and OpenWebText are looked for, and other texts are written."""
    sample_megabytes: int = 10
    """Size of each text that is made here, in 10**6 bytes."""
    download: bool = False
    """Download TinyStories and OpenWebText if they are not there."""
    out: Path = Path("runs/tokenizers")
    """Where tokenizers and answers go."""
    dry_run: bool = False
    """Say which texts would be used and how long it would take, and stop."""


def chosen_corpora(flags: Flags) -> tuple[Texts, Texts]:
    """Return the two corpora; reads and writes nothing.

    Raises:
        ValueError: If flags contradict each other or a number can't be.
    """
    for size in flags.vocab_sizes:
        check_vocab_size(size, "--vocab-sizes")
    if flags.num_documents < 1:
        msg = f"--num-documents must be at least 1, got {flags.num_documents}"
        raise ValueError(msg)
    if (flags.texts is None) != (flags.held_out is None):
        given, missing = ("--texts", "--held-out") if flags.texts else ("--held-out", "--texts")
        msg = f"{given} needs {missing} too: compression is measured on text that no tokenizer was trained on"
        raise ValueError(msg)
    if flags.texts is not None and flags.held_out is not None:
        if flags.download:
            msg = "--download and --texts are two sources: give one of them"
            raise ValueError(msg)
        first, second = (
            choose_texts(TextFlags(train_text=train, valid_text=valid))
            for train, valid in zip(flags.texts, flags.held_out, strict=True)
        )
        if first.slug == second.slug:
            msg = f"--texts {first.train} and {second.train} have one name: rename one, for the tables"
            raise ValueError(msg)
        for corpus in (first, second):
            check_text(corpus.train, "--texts", 1)
            check_text(corpus.valid, "--held-out", 1)
        return first, second
    make = TextFlags(data_dir=flags.data_dir, sample_megabytes=flags.sample_megabytes)
    if flags.download:
        return choose_texts(replace(make, data="tinystories")), choose_texts(
            replace(make, data="openwebtext")
        )
    return choose_texts(make, "tinystories"), choose_texts(make, "openwebtext")


def describe(flags: Flags, corpora: tuple[Texts, Texts]) -> None:
    """Print what will be done."""
    for corpus, size in zip(corpora, flags.vocab_sizes, strict=True):
        there = corpus.train.stat().st_size if corpus.train.is_file() else corpus.num_bytes
        known = f"{there / 1e6:,.1f} MB" if there else "to be downloaded"
        say(f"corpus: {corpus.name} ({known}), tokenizer of {size:,} tokens")
    say(f"each tokenizer encodes all four texts; {flags.num_documents} documents of each are sampled")
