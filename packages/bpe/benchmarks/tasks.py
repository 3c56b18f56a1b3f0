"""What the benchmarks run in a process of its own (see fresh.py): each imports only what it needs."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fresh import Measured, answer_in_file, measure

END_OF_TEXT = "<|endoftext|>"


def train(contestant: str, path: str, vocab_size: int, num_threads: int, tie_break: str) -> Measured:
    """Train from the file; answers with a digest of the merges."""
    import peers
    from hornbook.bpe import train_bpe

    def ours() -> Iterable[tuple[bytes, bytes]]:
        return train_bpe(path, vocab_size, [END_OF_TEXT], num_threads=num_threads, tie_break=tie_break)[1]

    with Path(path).open("rb") as file:  # whoever reads it first after a while waits for memory
        while file.read(1 << 20):
            pass
    work: dict[str, Callable[[], Iterable[tuple[bytes, bytes]]]] = {
        "hornbook": ours,
        "gigatoken": lambda: peers.train_gigatoken(Path(path), vocab_size),
        "tokenizers": lambda: peers.train_tokenizers(Path(path), vocab_size),
    }
    return _digested(measure(work[contestant]), lambda merges: repr(list(merges)).encode())


def count(path: str, num_threads: int) -> Measured:
    """Count the pretokens of the file; answers with the number of different ones."""
    from hornbook.bpe import count_pretokens

    return _digested(
        measure(lambda: len(count_pretokens(path, [END_OF_TEXT], num_threads=num_threads))), None
    )


def encode(contestant: str, tokenizer: str, path: str) -> Measured:
    """Encode a text with a tokenizer that has seen nothing; answers with a digest of the ids."""
    from encoders import MAKERS, Text, flat

    text = Text.read(Path(path))
    encoder = MAKERS[contestant.split()[0]](Path(tokenizer))[contestant]
    encoder(Text(b"a", "a"))  # what is imported or built at the first call has nothing to do with the text
    return _digested(measure(lambda: encoder(text)), lambda ids: flat(ids).tobytes())


def encode_file(tokenizer: str, path: str, token_file: str, num_threads: int) -> Measured:
    """Encode a file into a file; answers with the number of tokens."""
    from hornbook.bpe import Tokenizer

    ours = Tokenizer.load(tokenizer)
    return _digested(
        measure(lambda: ours.encode_file(path, token_file, num_threads=num_threads).num_tokens), None
    )


def _digested(measured: Measured, as_bytes: Callable[[Any], bytes] | None) -> Measured:
    answer = measured.answer
    if as_bytes is not None:
        answer = hashlib.sha256(as_bytes(answer)).hexdigest()
    return Measured(measured.wall, measured.cpu, measured.peak_bytes, answer)


if __name__ == "__main__":
    answer_in_file({"train": train, "count": count, "encode": encode, "encode_file": encode_file})
