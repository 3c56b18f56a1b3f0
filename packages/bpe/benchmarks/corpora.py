"""The texts to measure on, made in a temporary directory and never kept.

With `--data DIR` they are real: DIR/tinystories/*.txt, and DIR/web/*.txt with DIR/multilingual/*.txt, each
document closed by a line `<|endoftext|>`. Without it they are generated stories, and the web is left out.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

END_OF_TEXT = "<|endoftext|>"
_DOCUMENT_END = f"{END_OF_TEXT}\n".encode()
_LETTERS_A_WORD = 7


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what to measure on, and how often."""
    parser.add_argument("--data", type=Path, help="directory of real text; default: stories generated here")
    parser.add_argument("--stories-bytes", type=int, default=200_000_000)
    parser.add_argument("--web-bytes", type=int, help="default: the files as they are, once")
    parser.add_argument("--repetitions", type=int, default=5)


def corpora(flags: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Make each text in turn and name it: "stories", and "web" where there is a data directory."""
    path = folder / "stories.txt"
    if flags.data is None:
        print("no --data: on stories generated here, and nothing on web text")
        write_documents(path, _generated_stories(), flags.stories_bytes)
        yield "stories", path
        return
    write_documents(path, _documents(flags.data / "tinystories"), flags.stories_bytes)
    yield "stories", path
    path = folder / "web.txt"
    web = _documents(flags.data / "web") + _documents(flags.data / "multilingual")
    write_documents(path, web, flags.web_bytes or sum(map(len, web)))
    yield "web", path


def write_documents(path: Path, documents: list[bytes], num_bytes: int) -> None:
    """Write the documents in random order, then in another, and so on up to the size."""
    draw = random.Random(0)
    written = 0
    with path.open("wb") as file:
        while written < num_bytes:
            for document in draw.sample(documents, len(documents)):
                written += file.write(document)
                if written >= num_bytes:
                    break


def write_rare_words(path: Path, num_bytes: int, num_unique: int) -> None:
    """Write words of seven random letters, at most `num_unique` different ones."""
    draw = np.random.default_rng(0)
    spread = 1_000_000_007  # prime, so not a factor of 26: neighbouring numbers become unlike words
    powers = 26 ** np.arange(_LETTERS_A_WORD)
    with path.open("wb") as file:
        while file.tell() < num_bytes:
            words = draw.integers(num_unique, size=1_000_000) * spread % 26**_LETTERS_A_WORD
            letters = words[:, None] // powers % 26 + ord("a")
            line = np.full((len(words), _LETTERS_A_WORD + 1), ord(" "), dtype=np.uint8)
            line[:, 1:] = letters
            file.write(line.tobytes()[: num_bytes - file.tell()])


def _documents(directory: Path) -> list[bytes]:
    documents = []
    for path in sorted(directory.glob("*.txt")):
        documents += [part + _DOCUMENT_END for part in path.read_bytes().split(_DOCUMENT_END) if part]
    if not documents:
        sys.exit(
            f"{directory} holds no .txt files: what --data should look like is said at the head of {__file__}"
        )
    return documents


def _generated_stories() -> list[bytes]:
    sys.path.insert(0, str(Path(__file__).parents[3] / "apps"))
    try:
        from recipes.stories import write_stories
    except ModuleNotFoundError as error:
        sys.exit(
            f"{error}: to generate stories needs all of hornbook (uv run --all-packages), or give --data"
        )
    with tempfile.TemporaryDirectory() as name:
        write_stories(Path(name) / "stories.txt", num_bytes=20_000_000, seed=0, split="train")
        return _documents(Path(name))
