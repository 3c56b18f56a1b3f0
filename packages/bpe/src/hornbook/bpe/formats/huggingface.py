"""tokenizer.json, the one file of the packages tokenizers and transformers.

The file describes a pipeline of which byte-level BPE is one case. `read` takes what gives the same ids here
and refuses everything else by the name of the field: a tokenizer that is nearly right is wrong.
"""

from collections.abc import Mapping
from os import PathLike

from ..arguments import check_file, check_path
from . import gpt2
from .files import check_id, check_text, dump_json, naming, parse_json, read_text, show, write_files
from .parts import Parts
from .pipeline import (
    ANY,
    BYTE_LEVEL,
    check_fields,
    check_list,
    check_post_processor,
    dump_pattern,
    read_added_tokens,
    read_pattern,
)
from .tiktoken import split


def read(path: str | PathLike[str], *, add_special_tokens: bool = True) -> Parts:
    """Read a tokenizer.json that describes byte-level BPE.

    All added tokens become special tokens: tokenizers, too, cuts them out of the text first, special or not.

    Args:
        path: The file.
        add_special_tokens: As the argument of the same name of `encode` in tokenizers. By default, a file
            whose post-processor adds tokens to each text, such as Llama 3's <|begin_of_text|>, is refused;
            False reads it, and then the ids are those of `encode(text, add_special_tokens=False)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of this form, or describes what cannot be reproduced exactly.
    """
    file = check_file(path)
    with naming(file):
        content = parse_json(read_text(file))
        model = content.get("model")
        # First: all else follows from it.
        if isinstance(model, dict) and model.get("type") not in ("BPE", None):
            msg = f"model.type must be 'BPE', got {show(model['type'])}: hornbook has no other tokenizers"
            raise ValueError(msg)
        check_fields(
            "",
            content,
            version=("1.0", None),
            truncation=(None,),
            padding=(None,),
            normalizer=(None,),
            added_tokens=(ANY,),
            pre_tokenizer=(ANY,),
            post_processor=(ANY,),
            decoder=(ANY,),
            model=(ANY,),
        )
        pattern = read_pattern(content.get("pre_tokenizer"))
        check_post_processor("post_processor", content.get("post_processor"), add_special_tokens)
        check_fields("decoder", content.get("decoder"), type=("ByteLevel",), **BYTE_LEVEL)
        added = read_added_tokens(content.get("added_tokens", []))
        return _read_model(model, added, pattern).in_order()


def write(path: str | PathLike[str], parts: Parts) -> None:
    """Write a tokenizer.json that gives the same ids; a file with another content is not replaced.

    `tokenizers.Tokenizer.from_file` and `transformers.PreTrainedTokenizerFast(tokenizer_file=...)` read it,
    and so does `transformers.AutoTokenizer` from a directory that holds it.

    Raises:
        ValueError: If tokenizers would give other ids: a byte is missing, a special token is spelled like an
            ordinary one, or the pattern is a regex that Oniguruma understands in another way.
        FileExistsError: If the file exists and holds something else.
    """
    specials = {token_id: special for special, token_id in parts.special_tokens.items()}
    ordinary = parts.ordinary_tokens()
    for value in range(256):
        if bytes([value]) not in ordinary:
            msg = f"byte 0x{value:02x} has no token: tokenizers would drop it from texts in silence"
            raise ValueError(msg)
    vocab: dict[str, int] = {}
    for token_id, token in parts.vocab.items():
        text = specials.get(token_id) or gpt2.printable(token)
        is_both = token_id in specials and ordinary.get(token) == token_id
        if text in vocab or (is_both and text != gpt2.printable(token)) or _spells_other_bytes(text, token):
            msg = (
                f"tokenizer.json cannot hold the token {text!r}, id {token_id}: special tokens are"
                " spelled plainly there, and another token is spelled so; save the tokenizer as a directory"
            )
            raise ValueError(msg)
        vocab[text] = token_id
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": special,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id, special in sorted(specials.items())
        ],
        "normalizer": None,
        "pre_tokenizer": dump_pattern(parts.pattern, byte_level),
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [f"{gpt2.printable(left)} {gpt2.printable(right)}" for left, right in parts.merges],
        },
    }
    write_files({check_path(path): dump_json(content, indent=2)})


def _read_model(value: object, added: Mapping[str, int], pattern: str) -> Parts:
    model = check_fields(
        "model",
        value,
        type=(ANY,),  # `read` has seen to it
        dropout=(None, 0.0, 0),
        unk_token=(ANY,),
        continuing_subword_prefix=(None, ""),
        end_of_word_suffix=(None, ""),
        fuse_unk=(ANY,),
        byte_fallback=(False, None),
        ignore_merges=(False, True, None),
        vocab=(ANY,),
        merges=(ANY,),
    )
    spelled, vocab = _read_vocab(model.get("vocab"), added)
    if model.get("unk_token") is not None and any(
        bytes([value]) not in spelled.values() for value in range(256)
    ):
        msg = f"model.unk_token must be null where bytes have no token, got {show(model['unk_token'])}"
        raise ValueError(msg)
    merges = _read_merges(model.get("merges"), spelled)
    if model.get("ignore_merges"):
        _check_reachable(vocab, added, merges)
    for text, token_id in added.items():
        if token_id not in vocab and token_id != len(vocab):
            msg = (
                f"added_tokens: {show(text)} must have id {len(vocab)}, got {token_id}: tokenizers numbers"
                " added tokens in their order, after the vocabulary, whatever the file says"
            )
            raise ValueError(msg)
        if vocab.setdefault(token_id, text.encode()) != text.encode():
            msg = f"added_tokens: {show(text)} has id {token_id}, which is token {show(vocab[token_id])}"
            raise ValueError(msg)
    return Parts(vocab, merges, added, pattern)


def _read_vocab(value: object, added: Mapping[str, int]) -> tuple[dict[str, bytes], dict[int, bytes]]:
    """The tokens that merges may name, by their spelling, and all tokens by id."""
    if not isinstance(value, dict):
        msg = f"model.vocab must be a JSON object, got {show(value)}"
        raise ValueError(msg)
    spelled: dict[str, bytes] = {}
    vocab: dict[int, bytes] = {}
    for key, item in value.items():
        token_id = check_id(key, item)
        if token_id in vocab:
            msg = f"model.vocab: id {token_id} is given to two tokens, {show(key)} is one"
            raise ValueError(msg)
        check_text("a token of model.vocab", key)
        if added.get(key, token_id) != token_id:
            msg = f"added_tokens: {show(key)} has id {added[key]}, but {token_id} in model.vocab"
            raise ValueError(msg)
        if key in added:
            token = key.encode()
            if _spells_other_bytes(key, token):
                msg = f"added_tokens: {show(key)} also spells other bytes in GPT-2's alphabet"
                raise ValueError(msg)
        else:
            token = _from_printable(key)
        # An added token may also be one that merges make, unless the same text spells other bytes.
        if key not in added or gpt2.printable(token) == key:
            spelled[key] = token
        vocab[token_id] = token
    return spelled, vocab


def _from_printable(key: str) -> bytes:
    try:
        return gpt2.from_printable(key)
    except ValueError as error:
        msg = f"model.vocab: {error}"
        raise ValueError(msg) from None


def _spells_other_bytes(text: str, token: bytes) -> bool:
    """Whether tokenizers, which knows a token by its text alone, could find `text` in place of other bytes.

    "Ġ" as an added token is such a text: it also spells a space. "<|début|>" is not, for what it spells is
    not UTF-8, so that no text holds it.
    """
    try:
        other = gpt2.from_printable(text)
        return other != token and (len(other) == 1 or bool(other.decode()))
    except ValueError:
        return False


def _read_merges(value: object, spelled: Mapping[str, bytes]) -> list[tuple[bytes, bytes]]:
    merges: dict[tuple[bytes, bytes], int] = {}
    for index, item in enumerate(check_list("model.merges", value)):
        pair = item.split(" ") if isinstance(item, str) else item
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            msg = f"model.merges[{index}] must be two tokens, got {show(item)}"
            raise ValueError(msg)
        left, right = pair
        for part in (left, right, left + right):
            if part not in spelled:
                msg = f"model.merges[{index}], {show(item)}, needs {show(part)}, which model.vocab lacks"
                raise ValueError(msg)
        merge = spelled[left], spelled[right]
        if (other := merges.setdefault(merge, index)) != index:
            msg = f"model.merges[{index}], {show(item)}, was given before as model.merges[{other}]"
            raise ValueError(msg)
    return list(merges)


def _check_reachable(
    vocab: Mapping[int, bytes], added: Mapping[str, int], merges: list[tuple[bytes, bytes]]
) -> None:
    """Refuse ignore_merges where it has effect: a pretoken that is a token, but merges do not make it."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    specials = set(added.values())
    for token_id, token in vocab.items():
        if token_id not in specials and len(parts := split(token, lambda *pair: ranks.get(pair))) > 1:
            msg = (
                f"model.ignore_merges must be false: merges do not make token {token_id}, {show(token)}, but"
                f" end in {show(parts)}, so the ids would not be the same"
            )
            raise ValueError(msg)
