"""A byte-level BPE tokenizer as plain values, spelled and checked as llama.cpp reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# llama.cpp has patterns like cl100k and o200k, but none that cuts every text as these do: it lacks cl100k's
# rule for white space at the end of a text, and o200k's classes of upper and lower case.
_PATTERNS = {"gpt2": "gpt-2"}


@dataclass(frozen=True, kw_only=True, slots=True)
class GGUFVocabulary:
    """What a GGUF file says of the tokenizer.

    Attributes:
        vocab: Token id to bytes, special tokens included; the ids are 0 to n - 1.
        merges: Pairs of tokens, the earliest learned first.
        special_tokens: Special token to its id.
        end_of_text: The special token that stands between texts: it begins one and ends one.
        pattern: What cuts text into pretokens; of those that hornbook has names for, llama.cpp has "gpt2".

    Raises:
        ValueError: If llama.cpp would give other ids.

    Example:
        >>> vocab = {value: bytes([value]) for value in range(256)} | {256: b" t", 257: b"<e>"}
        >>> tokens = GGUFVocabulary(
        ...     vocab=vocab, merges=[(b" ", b"t")], special_tokens={"<e>": 257}, end_of_text="<e>"
        ... )
        >>> tokens.spelled()[254:], tokens.spelled_merges()
        (['þ', 'ÿ', 'Ġt', '<e>'], ['Ġ t'])
    """

    vocab: Mapping[int, bytes]
    merges: Sequence[tuple[bytes, bytes]]
    special_tokens: Mapping[str, int]
    end_of_text: str
    pattern: str = "gpt2"

    def __post_init__(self) -> None:
        """Refuse what llama.cpp would read in another way."""
        if self.pattern not in _PATTERNS:
            msg = (
                f"pattern must be 'gpt2', got {self.pattern!r}: llama.cpp has none that cuts every text as it"
                " does, so its ids would differ; train with GPT-2's pattern, or save in another form"
            )
            raise ValueError(msg)
        if sorted(self.vocab) != list(range(len(self.vocab))):
            msg = f"the ids of {len(self.vocab)} tokens must be 0 to {len(self.vocab) - 1}"
            raise ValueError(msg)
        if not self.merges:
            msg = "merges must not be empty: llama.cpp reads no vocabulary of bytes alone"
            raise ValueError(msg)
        if self.end_of_text not in self.special_tokens:
            msg = f"end_of_text must be one of {list(self.special_tokens)}, got {self.end_of_text!r}"
            raise ValueError(msg)
        self._check_spelling()

    def _check_spelling(self) -> None:
        """Each token must be told by its text alone, as llama.cpp knows no other."""
        made = {left + right for left, right in self.merges} | {bytes([value]) for value in range(256)}
        specials = set(self.special_tokens.values())
        for special, token_id in self.special_tokens.items():
            if self.vocab.get(token_id) != special.encode() or special.encode() in made:
                msg = (
                    f"special token {special!r}, id {token_id}, must stand in the vocabulary and be no token"
                    f" of ordinary text; there it is {self.vocab.get(token_id)!r}"
                )
                raise ValueError(msg)
        for first in self.special_tokens:
            for second in self.special_tokens:
                # Where "<a><" and "<b>" meet as "<a><b>", hornbook takes the one that begins first, llama.cpp
                # the longer.
                if first != second and any(second.startswith(first[k:]) for k in range(1, len(first))):
                    msg = (
                        f"special tokens {first!r} and {second!r} overlap: an end of the one is a beginning"
                        " of the other, and llama.cpp would cut some texts in another way"
                    )
                    raise ValueError(msg)
        missing = made - {token for token_id, token in self.vocab.items() if token_id not in specials}
        if missing:
            msg = f"token {min(missing)!r} is not in the vocabulary, but a byte or made by a merge"
            raise ValueError(msg)
        seen: dict[str, int] = {}
        for token_id, text in enumerate(self.spelled()):
            if seen.setdefault(text, token_id) != token_id:
                msg = f"tokens {seen[text]} and {token_id} would both be {text!r}, and llama.cpp takes one"
                raise ValueError(msg)

    @property
    def pre(self) -> str:
        """What llama.cpp calls the pattern."""
        return _PATTERNS[self.pattern]

    def spelled(self) -> list[str]:
        """Return the texts of the tokens: special ones plainly, the others in GPT-2's alphabet of bytes."""
        specials = {token_id: special for special, token_id in self.special_tokens.items()}
        ids = range(len(self.vocab))
        return [specials.get(token_id) or _printable(self.vocab[token_id]) for token_id in ids]

    def spelled_merges(self) -> list[str]:
        """Return the merges, two texts with a space between."""
        return [f"{_printable(left)} {_printable(right)}" for left, right in self.merges]


def _alphabet() -> dict[int, str]:
    """GPT-2's: a byte that Latin-1 prints stands for itself, the others are numbered from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in plain]
    return {value: chr(value) for value in plain} | {value: chr(256 + n) for n, value in enumerate(others)}


_ALPHABET = _alphabet()


def _printable(token: bytes) -> str:
    return "".join(_ALPHABET[value] for value in token)
