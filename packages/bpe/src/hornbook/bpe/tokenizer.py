"""A trained tokenizer: text to ids and back."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from . import formats
from .arguments import check_choice, check_iterable, check_path
from .batch import encode_batch
from .corpus import END_OF_TEXT, encode_corpus
from .decode import Decoder
from .encoders import SpecialSets, TextEncoder
from .engine import TokenIds
from .formats import Parts
from .patterns import find_pattern
from .progress import Progress
from .sources import InputPath
from .special import check_special_tokens
from .token_file import TokenManifest
from .vocabulary import add_special_tokens, check_vocab, merge_table, ordinary_ids


class Tokenizer:
    """Byte-level BPE. It never changes, may be used from many threads at once, and can be pickled.

    Args:
        vocab: Token id to bytes; the ids are 0 to n - 1.
        merges: Pairs of tokens, the earliest learned first.
        special_tokens: Strings recognised in text that is encoded, the longest first. Those that the
            vocabulary lacks are appended to it.
        pattern: What cuts text into pretokens: "gpt2", "cl100k", "o200k", or a regex of the package `regex`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ids have holes, two tokens are the same, a merge is given twice or its parts or
            product are not in the vocabulary, a special token is empty or given twice, or the vocabulary has
            more than 2^21 tokens.

    Example:
        >>> vocab = {value: bytes([value]) for value in range(256)} | {256: b"th", 257: b"the"}
        >>> tokenizer = Tokenizer(vocab, [(b"t", b"h"), (b"th", b"e")], ["<|endoftext|>"])
        >>> tokenizer.encode("the hat<|endoftext|>")
        [257, 32, 104, 97, 116, 258]
        >>> tokenizer.decode([257, 32, 104, 97, 116, 258])
        'the hat<|endoftext|>'
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> None:
        specials = check_special_tokens([] if special_tokens is None else special_tokens)
        found = find_pattern(pattern)
        pairs = list(check_iterable("merges", merges, "pairs of bytes"))
        checked = check_vocab(vocab)
        special_ids = add_special_tokens(checked, specials)
        ids = ordinary_ids(checked, special_ids)
        self._encoder = TextEncoder(ids, merge_table(pairs, ids), found, len(checked))
        self._decoder = Decoder(checked)
        self._specials = SpecialSets(special_ids)
        self._parts = Parts(
            checked,
            [(left, right) for left, right in pairs],
            special_ids,
            found.regex if found.name == "custom" else found.name,
        )

    @classmethod
    def from_files(
        cls,
        vocab_filepath: str | os.PathLike[str],
        merges_filepath: str | os.PathLike[str],
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> Self:
        """Read GPT-2's vocab.json and merges.txt.

        Args:
            vocab_filepath: JSON object of tokens, spelled in GPT-2's alphabet of bytes, and their ids.
            merges_filepath: One merge a line, two tokens with a space between.
            special_tokens: As for the class; the files do not say which they are.
            pattern: As for the class.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is not of its form, or the two do not fit: cut off, for instance.
        """
        specials = check_special_tokens([] if special_tokens is None else special_tokens)
        parts = formats.gpt2.read(vocab_filepath, merges_filepath, specials, pattern=pattern)
        return cls(parts.vocab, parts.merges, specials, pattern=pattern)

    @classmethod
    def from_huggingface(cls, path: str | os.PathLike[str], *, add_special_tokens: bool = True) -> Self:
        """Read a tokenizer.json of byte-level BPE.

        Args:
            path: The file.
            add_special_tokens: As in `tokenizers`. A file that adds tokens to each text is refused, unless
                this is False; the ids are then those without them.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not of this form, or describes what cannot be reproduced exactly.
        """
        return cls._from_parts(formats.huggingface.read(path, add_special_tokens=add_special_tokens))

    @classmethod
    def from_tiktoken(
        cls,
        path: str | os.PathLike[str],
        special_tokens: Sequence[str] | Mapping[str, int] | None = None,
        *,
        pattern: str = "cl100k",
    ) -> Self:
        """Read a .tiktoken file: tokens and their ranks.

        Args:
            path: The file.
            special_tokens: With their ids; or a sequence, which gets the ids that the file leaves free.
            pattern: As for the class; the file does not say which it is.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not of this form, or no merges give what tiktoken does.
        """
        specials = () if special_tokens is None else special_tokens
        return cls._from_parts(formats.tiktoken.read(path, specials, pattern=pattern))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a directory that `save` wrote, special tokens and pattern included.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file was changed or damaged since, or comes from a later version.
        """
        return cls._from_parts(formats.directory.read(path))

    @classmethod
    def _from_parts(cls, parts: Parts) -> Self:
        return cls(parts.vocab, parts.merges, list(parts.special_tokens), pattern=parts.pattern)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a directory of vocab.json and merges.txt in GPT-2's form and the rest beside them.

        The directory appears whole or not at all; if it already holds this tokenizer, nothing is done.

        Raises:
            FileExistsError: If it holds anything else.
        """
        formats.directory.write(path, self._parts)

    def save_files(
        self, vocab_filepath: str | os.PathLike[str], merges_filepath: str | os.PathLike[str]
    ) -> None:
        """Write GPT-2's vocab.json and merges.txt, which name neither special tokens nor the pattern.

        Raises:
            ValueError: If they cannot hold this tokenizer.
            FileExistsError: If a file is there with another content.
        """
        formats.gpt2.write(vocab_filepath, merges_filepath, self._parts)

    def save_huggingface(self, path: str | os.PathLike[str]) -> None:
        """Write a tokenizer.json for `tokenizers` and `transformers`.

        Raises:
            ValueError: If they would give other ids.
            FileExistsError: If the file is there with another content.
        """
        formats.huggingface.write(path, self._parts)

    def save_tiktoken(self, path: str | os.PathLike[str]) -> None:
        """Write a .tiktoken file, which names neither special tokens nor the pattern.

        Raises:
            ValueError: If tiktoken would give other ids.
            FileExistsError: If the file is there with another content.
        """
        formats.tiktoken.write(path, self._parts)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self._parts
        make = partial(type(self), pattern=parts.pattern)
        return make, (parts.vocab, parts.merges, self.special_tokens)

    @property
    def vocab(self) -> dict[int, bytes]:
        """Token id to bytes, in order of ids; a copy."""
        return dict(self._parts.vocab)

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The merges, the earliest learned first; a copy."""
        return list(self._parts.merges)

    @property
    def special_tokens(self) -> list[str]:
        """The special tokens, as they were given."""
        return list(self._parts.special_tokens)

    @property
    def pattern(self) -> str:
        """What cuts text into pretokens: a name, or the regex if it has none."""
        return self._parts.pattern

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; ids are 0 to vocab_size - 1."""
        return len(self._parts.vocab)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over vocabulary, merges, special tokens and pattern: equal if and only if these are.

        It does not depend on the order in which special tokens were given.
        """
        return self._parts.fingerprint

    @cached_property
    def token_num_bytes(self) -> NDArray[np.int64]:
        """Bytes of text that each token stands for, indexed by id; read only.

        A special token marks something about the text and is none of it: 0. So the sum over the ids of a text
        is the number of its bytes without special tokens, the denominator of bits per byte.
        """
        lengths = np.fromiter(map(len, self._parts.vocab.values()), np.int64, self.vocab_size)
        lengths[list(self._parts.special_tokens.values())] = 0
        lengths.flags.writeable = False
        return lengths

    def __repr__(self) -> str:
        pattern = "" if self.pattern == "gpt2" else f", pattern={self.pattern!r}"
        return f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens}{pattern})"

    def encode(
        self, text: str | bytes, *, allowed_special: Collection[str] = "all", errors: str = "strict"
    ) -> list[int]:
        """Return the token ids of `text`.

        Args:
            text: A str, or bytes in UTF-8.
            allowed_special: The special tokens to recognise: "all", or some of the tokenizer's; the others
                are text like any other.
            errors: What becomes of bytes that are no UTF-8. "strict" refuses them; with "bytes", each
                becomes its own byte's token and the valid stretches between are texts of their own, so that
                `decode_bytes` gives back any bytes. A str has none.

        Raises:
            TypeError: If `text` is neither str nor bytes.
            ValueError: If it is not valid UTF-8, holds half a surrogate pair or a byte that the vocabulary
                lacks, or `allowed_special` names what is no special token.
        """
        ids = self.encode_to_numpy(text, allowed_special=allowed_special, errors=errors)
        return self._encoder.to_list(ids)

    def encode_ordinary(self, text: str | bytes, *, errors: str = "strict") -> list[int]:
        """Return the token ids of `text`, special tokens in it being text: the form for what strangers write.

        Example:
            >>> tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [], ["<e>"])
            >>> tokenizer.encode_ordinary("<e>"), tokenizer.encode("<e>")
            ([60, 101, 62], [256])
        """
        return self.encode(text, allowed_special=(), errors=errors)

    def encode_to_numpy(
        self, text: str | bytes, *, allowed_special: Collection[str] = "all", errors: str = "strict"
    ) -> TokenIds:
        """Return the ids of `encode` as an array, many times as fast for a long text.

        It is uint16 if the vocabulary has at most 65,536 tokens, uint32 otherwise, and yours to change.
        """
        specials = self._specials.find(allowed_special)
        return self._encoder.encode(text, specials, errors)

    def encode_iterable(
        self, iterable: Iterable[str], *, allowed_special: Collection[str] = "all"
    ) -> Iterator[int]:
        """Yield the token ids of the joined strings, wherever a string ends: inside words, special tokens.

        Reads a few thousand characters ahead and holds no more, unless the text has no white space and no
        special token for longer than that, or the pattern is a regex of your own.

        Args:
            iterable: Strings, for instance a file opened with `encoding="utf-8", newline=""`.
            allowed_special: As for `encode`.

        Raises:
            TypeError: If it yields anything but strings.
            ValueError: As for `encode`; positions count from the first string.

        Example:
            >>> tokenizer = Tokenizer({value: bytes([value]) for value in range(256)}, [], ["<e>"])
            >>> list(tokenizer.encode_iterable(["a<", "e>b"]))
            [97, 256, 98]
        """
        strings = check_iterable("iterable", iterable, "strings")
        return self._encoder.encode_chunks(strings, self._specials.find(allowed_special))

    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        *,
        allowed_special: Collection[str] = "all",
        errors: str = "strict",
        num_threads: int | None = None,
    ) -> list[list[int]]:
        """Return the token ids of each text, worked out on several threads.

        Args:
            texts: Texts as for `encode`.
            allowed_special: As for `encode`.
            errors: As for `encode`.
            num_threads: By default one for each processor.

        Raises:
            TypeError: As for `encode`, or if `texts` is one text.
            ValueError: As for `encode`; the message names the text by its index.
        """
        specials = self._specials.find(allowed_special)
        return encode_batch(self._encoder, texts, specials, errors, num_threads)

    def encode_file(
        self,
        src: InputPath,
        dst: str | os.PathLike[str],
        *,
        num_threads: int | None = None,
        document_end: str = END_OF_TEXT,
        progress: Progress | None = None,
    ) -> TokenManifest:
        """Encode text into a token file; memory does not grow with it.

        Three files appear, all whole or none: `dst`, raw little-endian uint16, or uint32 if the vocabulary
        has more than 65,536 tokens; `<dst>.documents`, the place of each document's first id as raw
        little-endian uint64; and last `<dst>.json`, the manifest. Files with these names are replaced.

        Args:
            src: Text in UTF-8: a path (.gz and .zst are decompressed), a list of paths or a pattern such as
                "corpus/*.txt" (each file is a text of its own), "-" for standard input, or an iterable of
                strings, pieces of one text. No line end and no byte order mark is changed.
            dst: The token file.
            num_threads: Threads that encode; by default one for each processor.
            document_end: The special token that ends a document. If the tokenizer lacks <|endoftext|>,
                documents are not recorded.
            progress: Called with stage "encode".

        Returns:
            The manifest.

        Raises:
            FileNotFoundError: If there is no such file to read, or no such folder to write into.
            ValueError: If the text is not UTF-8, a file is damaged or is cut short while it is read, `dst`
                would replace a file of `src`, or the tokenizer has no special token `document_end`.
            OSError: If the disk is full.
        """
        return encode_corpus(
            src,
            check_path(dst),
            self._encoder,
            self._specials.all,
            tokenizer=self.fingerprint,
            document_end=document_end,
            num_threads=num_threads,
            progress=progress,
        )

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """Return the text that the ids stand for.

        Args:
            ids: Token ids; an array of NumPy is decoded fastest.
            errors: What becomes of bytes that are no UTF-8: with "replace", U+FFFD; "strict" refuses them;
                "ignore", "backslashreplace" and "surrogateescape" are as in `bytes.decode`.

        Raises:
            TypeError: If an id is not an integer.
            ValueError: If an id is not in the vocabulary, or the bytes are refused.
        """
        check_choice("errors", errors, ("replace", "strict", "ignore", "backslashreplace", "surrogateescape"))
        return self.decode_bytes(ids).decode(errors=errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that the ids stand for; they need not be whole characters.

        Raises:
            TypeError: If an id is not an integer; True and 3.0 are none.
            ValueError: If an id is not in the vocabulary.
        """
        return self._decoder.decode(ids)
