"""Encoders of the same vocabulary, one a tokenizer and way to call it."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import peers
from corpora import END_OF_TEXT
from hornbook.bpe import Tokenizer


class Text(NamedTuple):
    """A text in the two forms that the encoders take."""

    data: bytes
    string: str

    @classmethod
    def read(cls, path: Path) -> "Text":
        """Read a file."""
        data = path.read_bytes()
        return cls(data, data.decode())


Encoder = Callable[[Text], Any]


def ours(folder: Path) -> dict[str, Encoder]:
    """Our encoder, to numpy from bytes."""
    tokenizer = Tokenizer.load(folder)
    return {"hornbook": lambda text: tokenizer.encode_to_numpy(text.data)}


def gigatoken_encoders(folder: Path) -> dict[str, Encoder]:
    """The two fastest ways of gigatoken on one thread; none where it isn't installed."""
    if find_spec("gigatoken") is None:
        print("gigatoken isn't installed: not compared with it")
        return {}
    gigatoken: Any = import_module("gigatoken")
    tokenizer = Tokenizer.load(folder)
    peer = gigatoken.Tokenizer.from_json(peers.same_tokenizers(tokenizer.vocab, tokenizer.merges).to_str())

    def by_document(text: Text) -> Any:
        return peer.encode_batch(gigatoken.BytesSource(text.data, separator=END_OF_TEXT), parallel=False)

    return {"gigatoken encode": lambda text: peer.encode(text.data), "gigatoken encode_batch": by_document}


def tiktoken_encoder(folder: Path) -> dict[str, Encoder]:
    """Tiktoken's, to numpy."""
    peer = peers.same_tiktoken(Tokenizer.load(folder).vocab)
    return {"tiktoken": lambda text: peer.encode_to_numpy(text.string, allowed_special="all")}


MAKERS = {"hornbook": ours, "gigatoken": gigatoken_encoders, "tiktoken": tiktoken_encoder}


def flat(ids: Any) -> NDArray[np.uint32]:
    """The ids as one array, whatever an encoder returned."""
    if type(ids).__module__.startswith("awkward"):
        ids = import_module("awkward").flatten(ids)
    return np.asarray(ids, dtype=np.uint32)
