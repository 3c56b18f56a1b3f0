"""GPT-2's vocab.json and merges.txt (Radford et al. 2019, encoder.py)."""

from collections.abc import Collection, Iterator, Mapping
from os import PathLike

from ..arguments import check_file, check_path
from .files import check_id, check_text, dump_json, naming, parse_json, read_text, show, write_files
from .parts import Parts


def _byte_characters() -> list[str]:
    """GPT-2's printable character for each byte (encoder.py, bytes_to_unicode).

    Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and on: space is "Ġ".
    """
    itself = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(value if value in itself else next(others)) for value in range(256)]


_CHARACTERS = _byte_characters()
_BYTES = {character: value for value, character in enumerate(_CHARACTERS)}


def printable(token: bytes) -> str:
    """Spell a token in GPT-2's alphabet.

    Example:
        >>> printable(" né".encode())
        'ĠnÃ©'
    """
    return "".join([_CHARACTERS[value] for value in token])


def from_printable(text: str) -> bytes:
    """The token that `printable` spells so.

    Raises:
        ValueError: If a character is not in the alphabet.
    """
    try:
        return bytes([_BYTES[character] for character in text])
    except KeyError as error:
        msg = f"{show(text)} is not in GPT-2's alphabet of bytes: {error.args[0]!r}"
        raise ValueError(msg) from None


def read(
    vocab_path: str | PathLike[str],
    merges_path: str | PathLike[str],
    special_tokens: Collection[str] = (),
    *,
    pattern: str = "gpt2",
) -> Parts:
    """Read vocab.json, a JSON object of tokens and ids, and merges.txt, two tokens on each line.

    Neither file says which tokens are special, nor what the pattern is. A special token may also be spelled
    plainly in vocab.json if GPT-2's alphabet cannot spell it, as in "<|my token|>".

    Args:
        vocab_path: vocab.json.
        merges_path: merges.txt. A first line that starts with "#version" is its head, and may be missing;
            lines may end as on Windows; a blank line is refused, for a merge may have stood there.
        special_tokens: Those that vocab.json holds get its ids; the result leaves out the others.
        pattern: Handed on.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not of its form, or the two do not fit: cut off, for instance.
    """
    vocab_file, merges_file = check_file(vocab_path), check_file(merges_path)
    with naming(vocab_file):
        tokens = parse_vocab(read_text(vocab_file), special_tokens)
    with naming(merges_file):
        merges = parse_merges(read_text(merges_file), tokens)
    ids = {token_id: token for token, token_id in tokens.values()}
    by_token = {token: token_id for token_id, token in ids.items()}
    specials = {text: by_token[text.encode()] for text in special_tokens if text.encode() in by_token}
    with naming(vocab_file, merges_file):
        _check_all_made(ids, merges, specials)
        return Parts(ids, merges, specials, pattern).in_order()


def write(vocab_path: str | PathLike[str], merges_path: str | PathLike[str], parts: Parts) -> None:
    """Write vocab.json, special tokens included, and merges.txt; files with another content are not replaced.

    Raises:
        ValueError: If a special and an ordinary token are spelled alike: vocab.json could hold only one.
        FileExistsError: If one of the files exists and holds something else.
    """
    ids = {token: token_id for token_id, token in parts.vocab.items()}
    for special, token_id in parts.special_tokens.items():
        if ids[special.encode()] != token_id:
            msg = (
                f"vocab.json cannot hold both the special token {special!r}, id {token_id}, and the ordinary"
                f" one spelled the same, id {ids[special.encode()]}; save the tokenizer as a directory"
            )
            raise ValueError(msg)
    write_files({check_path(vocab_path): dump_vocab(ids), check_path(merges_path): dump_merges(parts)})


def dump_vocab(ids: Mapping[bytes, int]) -> bytes:
    """The content of vocab.json."""
    return dump_json({printable(token): token_id for token, token_id in ids.items()})


def dump_merges(parts: Parts) -> bytes:
    """The content of merges.txt."""
    lines = ["#version: 0.2", *(f"{printable(left)} {printable(right)}" for left, right in parts.merges)]
    return ("\n".join(lines) + "\n").encode()


def parse_vocab(text: str, special_tokens: Collection[str] = ()) -> dict[str, tuple[bytes, int]]:
    """The tokens of a vocab.json as they are spelled there -> their bytes and ids.

    Raises:
        ValueError: If it is not of this form, or gives one id to two tokens.
    """
    tokens: dict[str, tuple[bytes, int]] = {}
    keys: dict[int | bytes, str] = {}  # which key has this id, or stands for this token
    for key, value in parse_json(text).items():
        token_id = check_id(key, value)
        check_text(f"token {token_id}", key)
        try:
            token = from_printable(key)
        except ValueError as error:
            if key not in special_tokens:
                msg = f"{error}; if it is a special token, name it in special_tokens"
                raise ValueError(msg) from None
            token = key.encode()
        if (other := keys.setdefault(token_id, key)) != key:
            msg = f"id {token_id} is given to two tokens, {show(other)} and {show(key)}"
            raise ValueError(msg)
        if (other := keys.setdefault(token, key)) != key:
            msg = f"{show(other)} and {show(key)} are the same token"
            raise ValueError(msg)
        tokens[key] = token, token_id
    return tokens


def parse_merges(text: str, tokens: Mapping[str, tuple[bytes, int]]) -> list[tuple[bytes, bytes]]:
    """The merges of a merges.txt.

    Each is held against the vocabulary as it is read, so the first that doesn't fit ends the work: no file
    can take longer than a vocabulary of its size.

    Raises:
        ValueError: If it is not of this form, or a merge is given twice or is of tokens not in `tokens`.
    """
    merges: dict[tuple[bytes, bytes], int] = {}
    for number, line in enumerate(_lines(text), start=1):
        if number == 1 and line.startswith("#version"):
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            msg = f"line {number}: a merge is two tokens with a space between, got {show(line)}"
            raise ValueError(msg)
        for part in (left, right, left + right):
            if part not in tokens:
                msg = f"line {number}: merge {show(line)} needs {show(part)}, which is not in the vocabulary"
                raise ValueError(msg)
        merge = tokens[left][0], tokens[right][0]
        if (other := merges.setdefault(merge, number)) != number:
            msg = f"line {number}: merge {show(line)} was given before, on line {other}"
            raise ValueError(msg)
    return list(merges)


def _lines(text: str) -> Iterator[str]:
    r"""The lines, without making all of them at once; only \n and \r\n end one, not U+2028 and its like."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        if end < 0:
            end = len(text)
        yield text[start : end - 1] if text[end - 1] == "\r" and end > start else text[start:end]
        start = end + 1


def _check_all_made(
    vocab: Mapping[int, bytes], merges: Collection[tuple[bytes, bytes]], special_tokens: Collection[str]
) -> None:
    """Refuse merges that were cut off: a token that two others would make, but no merge does."""
    known = set(vocab.values())
    lengths = sorted(
        set(map(len, known))
    )  # few, so that a token of 1 MB has few places where it could be cut
    made = {left + right for left, right in merges} | {special.encode() for special in special_tokens}
    for token_id, token in vocab.items():
        if (
            len(token) > 1
            and token not in made
            and any(token[:cut] in known and token[cut:] in known for cut in lengths if cut < len(token))
        ):
            msg = (
                f"no merge makes token {token_id}, {show(token)}: the merges may be cut off;"
                " if it is a special token, name it in special_tokens"
            )
            raise ValueError(msg)
