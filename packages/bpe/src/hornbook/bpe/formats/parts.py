"""What a tokenizer is made of: the value that every file format reads and writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self


@dataclass(frozen=True, slots=True)
class Parts:
    """A tokenizer as plain values.

    Args:
        vocab: Token id to bytes, special tokens included, in order of ids: 0 to n - 1 without holes.
        merges: Pairs of tokens, the earliest first.
        special_tokens: Special token to its id. If an ordinary token is spelled alike, its id is the higher.
        pattern: A name of `patterns.py` ("gpt2", "cl100k", "o200k"), or the regex itself if it has no name.
    """

    vocab: Mapping[int, bytes]
    merges: Sequence[tuple[bytes, bytes]]
    special_tokens: Mapping[str, int]
    pattern: str = "gpt2"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it: equal if and only if the values are.

        It does not depend on the order in which special tokens were given. The pattern counts if it isn't
        GPT-2's, so that the fingerprints of version 0.1, which had no other, hold.
        """
        content: list[object] = [
            [token.hex() for token in self.vocab.values()],
            [[left.hex(), right.hex()] for left, right in self.merges],
            sorted([token_id, token] for token, token_id in self.special_tokens.items()),
        ]
        if self.pattern != "gpt2":
            content.append(self.pattern)
        import hashlib  # here: see counts.py

        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def ordinary_tokens(self) -> dict[bytes, int]:
        """The id of each token that text can become: single bytes, and all others that aren't special.

        A token that a merge makes counts even if it was declared special.

        Example:
            >>> Parts({0: b"<e>", 1: b"a", 2: b"b"}, [], {"<e>": 0}).ordinary_tokens()
            {b'a': 1, b'b': 2}
        """
        made = {left + right for left, right in self.merges}
        specials = set(self.special_tokens.values())
        return {
            token: token_id
            for token_id, token in self.vocab.items()  # in order: of two alike, the ordinary one is last
            if token_id not in specials or token in made or len(token) == 1
        }

    def in_order(self) -> Self:
        """The same with the vocabulary in order of ids.

        Raises:
            ValueError: If ids have holes, two special tokens have one id, or of two tokens spelled alike the
                special one isn't the first.
        """
        size = len(self.vocab)
        missing = [*islice((token_id for token_id in range(size) if token_id not in self.vocab), 4)]
        if missing:
            known = ", ".join(map(str, missing[:3])) + (" and more" if len(missing) > 3 else "")
            msg = f"the ids of {size} tokens must be 0 to {size - 1}; missing: {known}"
            raise ValueError(msg)
        vocab = {token_id: self.vocab[token_id] for token_id in range(size)}
        first: dict[bytes, int] = {}
        for token_id, token in vocab.items():
            first.setdefault(token, token_id)
        for special, token_id in self.special_tokens.items():
            if vocab.get(token_id) != special.encode():
                msg = f"special token {special!r} has id {token_id}, which is that of another token"
                raise ValueError(msg)
            if first[special.encode()] != token_id:
                msg = (
                    f"special token {special!r} has id {token_id}, but id {first[special.encode()]} is"
                    " spelled alike, and then the lower id must be the special one's"
                )
                raise ValueError(msg)
        return replace(self, vocab=vocab)
