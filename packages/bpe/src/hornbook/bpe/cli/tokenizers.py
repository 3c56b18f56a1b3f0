"""A tokenizer from whatever form it was saved in, told by its name."""

import argparse
from pathlib import Path

from ..tokenizer import Tokenizer

FORMS = "a directory of `train`, a tokenizer.json, a .tiktoken, or a vocab.json with its merges.txt beside it"


def add_tokenizer(parser: argparse.ArgumentParser, *, required: bool = True, several: bool = False) -> None:
    """The tokenizer to use, and what its files may lack."""
    parser.add_argument(
        "--tokenizer",
        required=required,
        action="append" if several else "store",
        metavar="PATH",
        help=f"{FORMS}; files named otherwise: VOCAB,MERGES{'; repeatable' if several else ''}",
    )
    parser.add_argument(
        "--special-token",
        action="append",
        metavar="T",
        help="a special token of a .tiktoken or vocab.json, which name none; repeatable, in order of ids",
    )
    parser.add_argument(
        "--pattern",
        metavar="P",
        help="the pattern of a .tiktoken (default: cl100k) or vocab.json (default: gpt2), which name none",
    )


def open_tokenizer(path: str, args: argparse.Namespace) -> Tokenizer:
    """Read the tokenizer at `path`.

    Raises:
        FileNotFoundError: If it or a part of it is missing.
        ValueError: If it is of no known form, is damaged, or says itself what the flags say otherwise.
    """
    pair = _vocab_and_merges(path)
    if pair:
        return Tokenizer.from_files(*pair, args.special_token, pattern=args.pattern or "gpt2")
    found = _main_file(Path(path))
    if found.suffix == ".tiktoken":
        return Tokenizer.from_tiktoken(found, args.special_token, pattern=args.pattern or "cl100k")
    # Of several, the flags are for those that need them.
    if (args.special_token or args.pattern) and args.tokenizer in (path, [path]):
        msg = f"{path} names its special tokens and pattern itself: leave out --special-token and --pattern"
        raise ValueError(msg)
    return Tokenizer.load(found) if found.is_dir() else Tokenizer.from_huggingface(found)


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The id of each special token."""
    return {token: tokenizer.encode(token)[0] for token in tokenizer.special_tokens}


def _vocab_and_merges(path: str) -> tuple[Path, Path] | None:
    """The two files in GPT-2's form, if that is what `path` means."""
    if not Path(path).exists() and "," in path:
        vocab, merges = path.split(",", 1)
        return Path(vocab), Path(merges)
    file = Path(path)
    if file.is_dir() and not _is_saved(file) and not (file / "tokenizer.json").exists():
        file /= "vocab.json"
        if not file.exists():
            msg = f"{path} holds no tokenizer; --tokenizer takes {FORMS}"
            raise ValueError(msg)
    if not file.name.endswith("vocab.json"):
        return None
    return file, file.with_name(file.name.removesuffix("vocab.json") + "merges.txt")


def _main_file(path: Path) -> Path:
    """The directory of `Tokenizer.save`, or the one file."""
    if not path.exists():
        msg = f"there is no tokenizer {path}; --tokenizer takes {FORMS}"
        raise FileNotFoundError(msg)
    if path.is_dir():
        return path if _is_saved(path) else path / "tokenizer.json"
    if path.suffix not in (".json", ".tiktoken"):
        msg = f"{path} is no tokenizer by its name; --tokenizer takes {FORMS}"
        raise ValueError(msg)
    return path


def _is_saved(directory: Path) -> bool:
    return (directory / "hornbook_bpe.json").exists()
