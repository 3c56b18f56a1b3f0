"""GGUF files, read back with the reader of the package gguf. What llama.cpp makes of them: see tests/."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hornbook.nn import RopeScaling, TransformerConfig, TransformerLM
from hornbook.nn.formats import GGUFVocabulary, save_gguf, save_huggingface

gguf = pytest.importorskip("gguf")

BYTES = {1 + value: bytes([value]) for value in range(256)}
MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"\xc3", b"\xa9"), (b"\n", b"\n")]
VOCAB = {0: b"<|endoftext|>"} | BYTES | {257 + n: left + right for n, (left, right) in enumerate(MERGES)}
END = "<|endoftext|>"
TOKENS = GGUFVocabulary(vocab=VOCAB, merges=MERGES, special_tokens={END: 0}, end_of_text=END)
LLAMA = TransformerConfig(
    vocab_size=len(VOCAB),
    context_length=8,
    num_layers=2,
    d_model=16,
    num_heads=4,
    num_kv_heads=2,
    d_ff=12,
    rope_theta=500.0,
    norm_eps=2**-10,
)
SHAPES = {
    "llama": LLAMA,
    "tied llama": dataclasses.replace(LLAMA, tied_embeddings=True),
    "qwen3": dataclasses.replace(LLAMA, qk_norm=True),
}


def random_model(config: TransformerConfig, dtype: torch.dtype = torch.float32) -> TransformerLM:
    model = TransformerLM(config, dtype=dtype).requires_grad_(False)
    for parameter in model.parameters():
        parameter.uniform_(-1, 1)
    return model


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: tensor.data for tensor in reader.tensors}


def converted(directory: Path, config: TransformerConfig) -> dict[str, NDArray[Any]]:
    """What llama.cpp's conversion makes of the form of Hugging Face: its names, and its rows for a Llama."""
    kind = gguf.MODEL_ARCH.QWEN3 if config.qk_norm else gguf.MODEL_ARCH.LLAMA
    names = gguf.get_tensor_name_map(kind, config.num_layers)
    tensors = {}
    for name, weight in load_file(directory / "model.safetensors").items():
        heads = {"q_proj": config.num_heads, "k_proj": config.kv_heads}.get(name.split(".")[-2])
        if heads is not None and not config.qk_norm:
            halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
            weight = halves.swapaxes(1, 2).reshape(weight.shape)
        tensors[names.get_name(name, try_suffixes=(".weight",))] = weight
    return tensors


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_tensors_are_those_of_llama_cpps_own_conversion_bit_for_bit(
    tmp_path: Path, config: TransformerConfig
) -> None:
    model = random_model(config)
    save_gguf(model, tmp_path / "model.gguf", TOKENS)
    save_huggingface(model, tmp_path / "huggingface")
    _, tensors = read(tmp_path / "model.gguf")
    expected = converted(tmp_path / "huggingface", config)
    assert tensors.keys() == expected.keys()
    assert ("output.weight" in tensors) == (not config.tied_embeddings)
    for name, weight in tensors.items():
        assert weight.dtype == np.float32
        assert np.array_equal(weight, expected[name]), name


def test_a_llama_keeps_its_rows_as_they_are(tmp_path: Path) -> None:
    model = random_model(LLAMA)
    save_gguf(model, tmp_path / "model.gguf", TOKENS)
    _, tensors = read(tmp_path / "model.gguf")
    for name, own in {"attn_q": "q_proj", "attn_k": "k_proj"}.items():
        weight = model.get_parameter(f"layers.1.attn.{own}.weight").numpy()
        assert np.array_equal(tensors[f"blk.1.{name}.weight"], weight)


def test_half_precision_is_for_matrices_alone(tmp_path: Path) -> None:
    model = random_model(LLAMA, torch.bfloat16)
    save_gguf(model, tmp_path / "model.gguf", TOKENS, dtype=torch.float16)
    fields, tensors = read(tmp_path / "model.gguf")
    assert fields["general.file_type"] == 1
    for name, weight in tensors.items():
        assert weight.dtype == (np.float32 if weight.ndim == 1 else np.float16), name
    embedding = model.token_embeddings.weight.half().numpy()
    assert np.array_equal(tensors["token_embd.weight"], embedding)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_file_says_the_shape(tmp_path: Path, architecture: str) -> None:
    save_gguf(random_model(SHAPES[architecture]), tmp_path / "model.gguf", TOKENS, name="tiny")
    fields, _ = read(tmp_path / "model.gguf")
    assert fields["general.architecture"] == architecture
    assert fields["general.name"] == "tiny"
    assert fields["general.file_type"] == 0
    shape = {
        name.removeprefix(f"{architecture}."): value
        for name, value in fields.items()
        if name.startswith(f"{architecture}.")
    }
    assert shape == {
        "vocab_size": 262,
        "context_length": 8,
        "embedding_length": 16,
        "block_count": 2,
        "feed_forward_length": 12,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 4,
        "attention.value_length": 4,
        "attention.layer_norm_rms_epsilon": 2**-10,
        "rope.freq_base": 500.0,
        "rope.dimension_count": 4,
    }


def test_the_file_holds_the_tokenizer(tmp_path: Path) -> None:
    save_gguf(random_model(LLAMA), tmp_path / "model.gguf", TOKENS)
    fields, _ = read(tmp_path / "model.gguf")
    about = {name.removeprefix("tokenizer.ggml."): value for name, value in fields.items() if "ggml" in name}
    tokens, kinds = about.pop("tokens"), about.pop("token_type")
    assert about == {
        "model": "gpt2",
        "pre": "gpt-2",
        "merges": ["t h", "th e", "Ġ the", "Ã ©", "Ċ Ċ"],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "add_bos_token": False,
        "add_eos_token": False,
    }
    assert kinds == [3] + [1] * 261  # control, normal
    assert tokens[0] == END
    assert (tokens[1 + ord("a")], tokens[1 + ord(" ")]) == ("a", "Ġ")
    assert tokens[257:] == ["th", "the", "Ġthe", "Ã©", "ĊĊ"]
    assert len(set(tokens)) == 262


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "cl100k"}, "pattern must be 'gpt2', got 'cl100k': llama.cpp has none that cuts"),
        ({"vocab": {2: b"a"}}, "the ids of 1 tokens must be 0 to 0"),
        ({"merges": []}, "merges must not be empty"),
        ({"end_of_text": "<e>"}, r"end_of_text must be one of \['<\|endoftext\|>'\], got '<e>'"),
        ({"special_tokens": {END: 3}}, r"special token '<\|endoftext\|>', id 3, .*; there it is b'\\x02'"),
        ({"special_tokens": {END: 0, "the": 258}}, "special token 'the', id 258, must .* no token of"),
        ({"merges": [*MERGES, (b"a", b"b")]}, "token b'ab' is not in the vocabulary, but a byte or made by"),
        ({"vocab": {**VOCAB, 1: b"xyz"}}, r"token b'\\x00' is not in the vocabulary"),
        (
            {"vocab": {**VOCAB, 262: "Ġthe".encode()}, "special_tokens": {END: 0, "Ġthe": 262}},
            "tokens 259 and 262 would both be 'Ġthe', and llama.cpp takes one",
        ),
    ],
)  # fmt: skip
def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TOKENS, **changes)


def test_what_the_form_cannot_hold_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(ValueError, match="norm must be 'pre' in this format, got 'post'"):
        save_gguf(TransformerLM(dataclasses.replace(LLAMA, norm="post")), path, TOKENS)
    with pytest.raises(
        ValueError, match="as many tokens as the model, 300, got 262: it is not the tokenizer"
    ):
        save_gguf(TransformerLM(dataclasses.replace(LLAMA, vocab_size=300)), path, TOKENS)
    with pytest.raises(
        ValueError, match=r"dtype must be torch\.float32 or torch\.float16, got torch\.bfloat16"
    ):
        save_gguf(TransformerLM(LLAMA), path, TOKENS, dtype=torch.bfloat16)
    scaled = dataclasses.replace(LLAMA, rope_scaling=RopeScaling(factor=8.0, original_context_length=8))
    with pytest.raises(ValueError, match="rope_scaling must be None in GGUF, got RopeScaling"):
        save_gguf(TransformerLM(scaled), path, TOKENS)
    model = random_model(LLAMA)
    model.lm_head.weight[5, 6] = 1e5
    with pytest.raises(ValueError, match=r"lm_head\.weight\[5, 6\] is 100000, too large for torch\.float16"):
        save_gguf(model, path, TOKENS, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    save_gguf(random_model(LLAMA), path, TOKENS)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
        with pytest.raises(OSError, match="No space left"):
            save_gguf(random_model(LLAMA), path, TOKENS)
    assert path.read_bytes() == before
    save_gguf(random_model(LLAMA), path, TOKENS)
    assert path.read_bytes() != before
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed, gguf: pip install 'hornbook-nn\[gguf\]'"):
        save_gguf(TransformerLM(LLAMA), tmp_path / "model.gguf", TOKENS)


def test_nn_imports_neither_gguf_nor_transformers() -> None:
    program = "import hornbook.nn.formats, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"gguf", "transformers"} & set(modules.stdout.split())


@pytest.mark.parametrize("overlapping", ["|end>x", "x<"])
def test_special_tokens_that_overlap_are_refused(overlapping: str) -> None:
    end = "<|end>"
    vocab = {0: end.encode(), 1: overlapping.encode()} | {
        token_id + 2: token
        for token_id, token in enumerate([*(bytes([value]) for value in range(256)), b"ab"])
    }
    specials = {end: 0, overlapping: 1}
    with pytest.raises(ValueError, match="overlap: an end of the one is a beginning of the other"):
        GGUFVocabulary(vocab=vocab, merges=[(b"a", b"b")], special_tokens=specials, end_of_text=end)
