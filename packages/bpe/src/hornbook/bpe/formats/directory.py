"""This package's own format: a directory with GPT-2's two files and what they leave out."""

import hashlib
from os import PathLike
from typing import Any

from ..arguments import check_file, check_path
from ..patterns import find_pattern
from . import gpt2
from .files import check_id, check_text, dump_json, naming, parse_json, read_text, show, write_directory
from .parts import Parts

_VOCAB, _MERGES, _METADATA = "vocab.json", "merges.txt", "hornbook_bpe.json"


def read(path: str | PathLike[str]) -> Parts:
    """Read a directory that `write` made, with this version or an earlier one.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was changed or damaged since, or comes from a later version.
    """
    folder = check_path(path)
    vocab_file, merges_file, metadata_file = (
        check_file(folder / name) for name in (_VOCAB, _MERGES, _METADATA)
    )
    with naming(metadata_file):
        metadata = parse_json(read_text(metadata_file))
        pattern = _read_pattern(metadata)
        specials = _read_special_tokens(metadata)
    for file in (vocab_file, merges_file):
        if hashlib.sha256(file.read_bytes()).hexdigest() != metadata.get(f"{file.name}_sha256"):
            msg = f"{file} is not the file that was saved: its SHA-256 has changed"
            raise ValueError(msg)
    with naming(vocab_file):
        tokens = gpt2.parse_vocab(read_text(vocab_file))
    with naming(merges_file):
        merges = gpt2.parse_merges(read_text(merges_file), tokens)
    vocab = {token_id: token for token, token_id in tokens.values()}
    with naming(folder):
        vocab |= {token_id: special.encode() for special, token_id in specials.items()}
        parts = Parts(vocab, merges, specials, pattern).in_order()
        if parts.fingerprint != metadata.get("fingerprint"):
            msg = "is damaged: its tokenizer is not the one that was saved"
            raise ValueError(msg)
    return parts


def write(path: str | PathLike[str], parts: Parts) -> None:
    """Write a directory; it appears whole or not at all, and if it already holds this, nothing is done.

    Raises:
        FileExistsError: If it holds anything else.
    """
    # Of a special and an ordinary token that are spelled alike, vocab.json holds the ordinary one.
    contents = {
        _VOCAB: gpt2.dump_vocab({token: token_id for token_id, token in parts.vocab.items()}),
        _MERGES: gpt2.dump_merges(parts),
    }
    metadata = {
        "format": "hornbook.bpe",
        # Version 1 knew GPT-2's pattern alone. What it can say is said in it: the same tokenizer stays the
        # same files, and versions 0.1 read them.
        **({"format_version": 1, "pretokens": "gpt2"} if parts.pattern == "gpt2" else {"format_version": 2}),
        **({} if parts.pattern == "gpt2" else {"pattern": parts.pattern}),
        "special_tokens": dict(parts.special_tokens),
        "fingerprint": parts.fingerprint,
        **{f"{name}_sha256": hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    write_directory(check_path(path), contents | {_METADATA: dump_json(metadata, indent=2)})


def _read_pattern(metadata: dict[str, Any]) -> str:
    if metadata.get("format") != "hornbook.bpe":
        msg = f"format must be 'hornbook.bpe', got {show(metadata.get('format'))}"
        raise ValueError(msg)
    version = metadata.get("format_version")
    if type(version) is not int or version not in (1, 2):
        msg = (
            f"format_version must be 1 or 2, got {show(version)}; a later version of hornbook-bpe may read it"
        )
        raise ValueError(msg)
    if version == 1:
        if metadata.get("pretokens") != "gpt2":
            msg = f"pretokens must be 'gpt2', got {show(metadata.get('pretokens'))}"
            raise ValueError(msg)
        return "gpt2"
    pattern = find_pattern(check_text("pattern", metadata.get("pattern")))
    return pattern.regex if pattern.name == "custom" else pattern.name


def _read_special_tokens(metadata: dict[str, Any]) -> dict[str, int]:
    specials = metadata.get("special_tokens")
    if not isinstance(specials, dict):
        msg = f"special_tokens must map strings to ids, got {show(specials)}"
        raise ValueError(msg)
    return {check_text("a special token", token): check_id(token, value) for token, value in specials.items()}
